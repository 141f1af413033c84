"""POST /models/{id}/load and /unload: admins load and unload models, with the progress as a stream."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine
from functools import partial
from time import perf_counter
from typing import ClassVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from crossette.api.dialect import Dialect
from crossette.api.exchange import Exchange
from crossette.api.http import EventStream, json_response
from crossette.api.model_list import model_entry
from crossette.api.models import LocalModel
from crossette.api.request_body import read_json
from crossette.api.schema.table import Field, Table
from crossette.api.services import Services
from crossette.api.wire import CHUNKS, error_body
from crossette.errors import ADMIN_HINT, Forbidden, ModelInUse, Unsupported
from crossette.pool.model import ModelState
from crossette.pool.pool import ModelPool
from crossette.remote.model import RemoteModel

log = logging.getLogger(__name__)

INTERVAL_S = 0.5
"""Seconds between two events."""


class LoadRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    table: ClassVar[Table] = Table(
        {"stream": Field("Whether the answer is a stream of events, or the model's entry.", default=False)}
    )

    stream: bool | None = None


class LoadEvent(msgspec.Struct, kw_only=True):
    """The progress of a load or an unload: the last event has the final state."""

    status: ModelState
    model: str
    elapsed: float
    """Seconds since the request."""
    expected: float | None
    """Seconds that the last load took; null if there was none."""


async def load_model(request: Request, services: Services, dialect: Dialect) -> Response:
    """Load a model now. Raises Forbidden for a key that is not an admin key, ModelUnavailable if the load fails."""
    model = _named_by_admin(request, services, "load")
    return await _progress(request, services, dialect, model, partial(services.models.pool.load, model.name))


async def unload_model(request: Request, services: Services, dialect: Dialect) -> Response:
    """Unload a model now. Raises Forbidden for a key that is not an admin key, ModelInUse while requests use it.

    Raises ModelInUse also for a kept model.
    """
    model = _named_by_admin(request, services, "unload")
    return await _progress(request, services, dialect, model, partial(unload, model, services.models.pool))


async def unload(model: LocalModel, pool: ModelPool) -> None:
    """Unload a model. Raises ModelInUse for one that is kept, or that requests use."""
    if model.source.keep:
        raise ModelInUse(f"The model '{model.name}' is kept in memory.")
    if not await pool.unload(model.name) and model.num_users:
        raise ModelInUse(f"The model '{model.name}' is used by {model.num_users} requests. Retry later.")


async def _progress(
    request: Request,
    services: Services,
    dialect: Dialect,
    model: LocalModel,
    work: Callable[[], Coroutine[None, None, None]],
) -> Response:
    """The model's entry after `work`, or a stream of its states meanwhile. A disconnect does not end the work."""
    sent = await read_json(request, LoadRequest, services.settings, may_be_empty=True)
    working = asyncio.create_task(work())
    working.add_done_callback(_note_failure)
    if not sent.stream:
        await asyncio.shield(working)
        return json_response(model_entry(request.path_params["name"], services.models, dialect))
    events = _events(model, working)
    failure = partial(error_body, dialect=dialect, request_id=Exchange.of(request.scope).request_id)
    return EventStream(events, events.aclose, CHUNKS, failure, services.settings)


def _note_failure(working: asyncio.Task[None]) -> None:
    """Log a failure, which a client that has disconnected does not read."""
    if not working.cancelled() and (error := working.exception()) is not None:
        log.warning("%s", error)


async def _events(model: LocalModel, work: asyncio.Task[None]) -> AsyncGenerator[LoadEvent, None]:
    """The state of a model until `work` is done, which goes on if the iterator is closed."""
    begun, expected = perf_counter(), model.load_s

    def event() -> LoadEvent:
        return LoadEvent(
            status=model.state, model=model.name, elapsed=round(perf_counter() - begun, 3), expected=expected
        )

    while not work.done():
        await asyncio.wait({work}, timeout=INTERVAL_S)
        if not work.done():
            yield event()
    work.result()
    yield event()


def _named_by_admin(request: Request, services: Services, what: str) -> LocalModel:
    """The model of the path. The log has who asks for it: the pool's own lines say what comes of it."""
    caller = Exchange.of(request.scope).caller
    if not caller.is_admin:
        raise Forbidden("Only an admin key may load and unload models.", hint=ADMIN_HINT)
    name: str = request.path_params["name"]
    model = services.models.find(name)
    if isinstance(model, RemoteModel):
        raise Unsupported(f"The model '{name}' is run by another server, which loads and unloads it.", param="model")
    log.info("The %s of %s was requested by %s", what, model.name, caller.label)
    return model
