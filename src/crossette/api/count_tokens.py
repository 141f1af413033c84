"""The number of tokens of a prompt, counted by the code that makes the prompt of an answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request

from crossette.api.dialect import Dialect
from crossette.api.endpoint import BodyT, Call
from crossette.api.engine_lease import with_engine
from crossette.api.exchange import Exchange
from crossette.api.guards.sizes import check_sizes
from crossette.api.services import Services
from crossette.engine import Engine


async def count_tokens(
    request: Request,
    body: BodyT,
    prepare: Callable[[BodyT, Engine, Dialect], Awaitable[Call]],
    services: Services,
    dialect: Dialect,
) -> int:
    """The tokens of the prompts of `body`, which is valid JSON of a request and was read from `request`.

    Loads the model if necessary. Raises what an answer to the request would before it is generated, and Unsupported for
    a model of another server.
    """
    Exchange.of(request.scope).body = body
    body.check(dialect)
    check_sizes(body, services.settings)

    async def count(engine: Engine) -> int:
        call = await services.images.placed(await prepare(body, engine, dialect), body, engine)
        return sum(map(len, call.prompts))

    return await with_engine(request, services, dialect, body.model, count)
