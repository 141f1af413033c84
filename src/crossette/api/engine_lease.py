"""The engine of a request that generates nothing: its model is found by name, and loaded while it is used."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from starlette.requests import Request

from crossette.api.dialect import Dialect
from crossette.api.exchange import Exchange
from crossette.api.http import cancel_on_disconnect
from crossette.api.models import check_generates
from crossette.api.services import Services
from crossette.engine import Engine
from crossette.errors import Unsupported
from crossette.remote.model import RemoteModel

T = TypeVar("T")


async def with_engine(
    request: Request,
    services: Services,
    dialect: Dialect,
    name: str | None,
    work: Callable[[Engine], Awaitable[T]],
) -> T:
    """The result of `work`. Without a `name`, the model is the first that the caller may use.

    The request's body must already be read: a disconnect ends the work. Raises Unsupported for an embedding model, and
    for one that another server runs, whose tokenizer is not known here.
    """
    exchange = Exchange.of(request.scope)
    models = services.models.only(exchange.caller.models)
    model = models.find(name if name is not None else next(iter(models.names()), ""))
    exchange.model = model.name
    check_generates(model, f"{dialect.prefix}/embeddings")
    if isinstance(model, RemoteModel):
        raise Unsupported(
            f"The model '{model.name}' is run by another server, so its tokenizer is not known here. The usage of an "
            "answer has the number of its prompt's tokens.",
            param="model",
        )

    async def leased() -> T:
        lease = await services.models.pool.acquire(model.name)
        try:
            return await work(lease.engine)
        finally:
            lease.release()

    return await cancel_on_disconnect(request.receive, leased())
