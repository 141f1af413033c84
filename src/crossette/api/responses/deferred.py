"""POST /responses with `background`: the answer is the response as it is queued."""

from __future__ import annotations

import uuid
from dataclasses import replace
from functools import partial
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response as HttpResponse

from crossette.api.dialect import Dialect
from crossette.api.exchange import Exchange
from crossette.api.http import json_response
from crossette.api.responses.answer import ResponseFailure
from crossette.api.responses.context import context_of
from crossette.api.responses.echo import new_response
from crossette.api.responses.schema import ResponsesRequest
from crossette.api.schema.answer import Head
from crossette.api.services import Services


async def defer(sent: ResponsesRequest, request: Request, services: Services, dialect: Dialect) -> HttpResponse | None:
    """Queue a response that is to run in the background; None for another. The request is valid."""
    keeper, exchange = context_of(sent).keeper, Exchange.of(request.scope)
    if not sent.background or keeper is None:
        return None
    keeper = replace(keeper, is_background=True)
    response = new_response(Head(exchange.answer_id, sent.model), sent, dialect, None)
    response.status, response.background, response.store = "queued", True, True
    await keeper.save(response)

    async def failed(status: Any, reason: str) -> None:
        response.status = status
        response.error = ResponseFailure("server_error", reason) if status == "failed" else None
        await keeper.save(response)

    queued = json_response(response)
    alive = partial(keeper.keep_alive, response.id)
    background, scope = services.responses.background, request.scope
    background.start(response.id, scope["app"], scope, _inner_body(sent), failed, alive)
    exchange.answer_id = f"req-{uuid.uuid4().hex}"  # the ledger has an entry for each id: that of the answer is later
    return queued


def _inner_body(sent: ResponsesRequest) -> bytes:
    """The request as one that is answered at once, and stored."""
    fields = {name: getattr(sent, name) for name in ResponsesRequest.__struct_fields__}
    given = {name: value for name, value in fields.items() if value is not None and name != "background"}
    return msgspec.json.encode({**given, "store": True, "stream": False})
