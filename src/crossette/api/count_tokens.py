"""The number of tokens of a prompt, counted by the code that makes the prompt of an answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request

from crossette.api.dialect import Dialect
from crossette.api.endpoint import BodyT, Call
from crossette.api.exchange import Exchange
from crossette.api.guards.sizes import check_sizes
from crossette.api.http import cancel_on_disconnect
from crossette.api.services import Services
from crossette.engine import Engine
from crossette.errors import Unsupported
from crossette.remote.model import RemoteModel


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
    exchange = Exchange.of(request.scope)
    body.check(dialect)
    check_sizes(body, services.settings)
    model = services.models.only(exchange.caller.models).find(body.model)
    exchange.body, exchange.model = body, model.name
    if isinstance(model, RemoteModel):
        raise Unsupported(
            f"'{body.model}' is run by another server, which counts the tokens of a prompt when it answers it: see "
            "the usage of an answer.",
            param="model",
        )
    return await cancel_on_disconnect(request.receive, _count(body, prepare, services, dialect, model.name))


async def _count(
    body: BodyT,
    prepare: Callable[[BodyT, Engine, Dialect], Awaitable[Call]],
    services: Services,
    dialect: Dialect,
    model: str,
) -> int:
    lease = await services.models.pool.acquire(model)
    try:
        call = await services.images.placed(await prepare(body, lease.engine, dialect), body, lease.engine)
    finally:
        lease.release()
    return sum(map(len, call.prompts))
