"""POST /models/pull: downloads a model while the server runs, with its progress as a stream."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from functools import partial
from typing import ClassVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from crossette.api.dialect import Dialect
from crossette.api.exchange import Exchange
from crossette.api.http import EventStream, cancel_on_disconnect, json_response
from crossette.api.puller import PullEvent
from crossette.api.request_body import read_json
from crossette.api.schema.table import REQUIRED, Field, Table
from crossette.api.services import Services
from crossette.api.wire import CHUNKS, error_body
from crossette.errors import ADMIN_HINT, Forbidden

log = logging.getLogger(__name__)


class PullRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    table: ClassVar[Table] = Table(
        {
            "model": Field("A name of the catalogue, or hf:ORG/REPO[:FILE.gguf].", default=REQUIRED),
            "stream": Field("Whether the answer is a stream of events, or the last of them.", default=True),
        }
    )

    model: str
    stream: bool | None = None


async def pull_model(request: Request, services: Services, dialect: Dialect) -> Response:
    """Pull a model. Raises Forbidden for a key that is not an admin key."""
    exchange = Exchange.of(request.scope)
    if not exchange.caller.is_admin:
        raise Forbidden("Only an admin key may pull models.", hint=ADMIN_HINT)
    body = await read_json(request, PullRequest, services.settings)
    log.info("The pull of %r was requested by %s", body.model, exchange.caller.label)
    events = services.puller.pull(body.model)
    if body.stream is not False:
        failure = partial(error_body, dialect=dialect, request_id=exchange.request_id)
        return EventStream(events, events.aclose, CHUNKS, failure, services.settings)
    return json_response(await cancel_on_disconnect(request.receive, _last(events)))


async def _last(events: AsyncGenerator[PullEvent, None]) -> PullEvent:
    return [event async for event in events][-1]
