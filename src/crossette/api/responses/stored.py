"""The paths under /responses: stored responses are retrieved, listed, cancelled and deleted; tokens are counted."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response as HttpResponse

from crossette.accounts.responses import ResponseStore, StoredResponse
from crossette.api.count_tokens import count_tokens
from crossette.api.dialect import Dialect
from crossette.api.endpoint import Endpoint
from crossette.api.exchange import Exchange
from crossette.api.http import json_response
from crossette.api.request_body import read_json
from crossette.api.responses.body import ResponsesChat
from crossette.api.responses.context import load, not_stored
from crossette.api.responses.keeper import as_cancelled, as_it_is, found, not_found
from crossette.api.responses.schema import ResponsesRequest
from crossette.api.services import Services
from crossette.errors import InvalidRequest, Unsupported
from crossette.numerals import parse_count

_MAX_PAGE = 100


class ResponseDeleted(msgspec.Struct):
    id: str
    object: str = "response"
    deleted: bool = True
    message: str = "Response deleted successfully"


class InputItemList(msgspec.Struct):
    data: list[Any]  # Any: items as they were sent
    first_id: str | None
    last_id: str | None
    has_more: bool
    object: str = "list"


class ResponseList(msgspec.Struct):
    data: list[msgspec.Raw]
    first_id: str | None
    last_id: str | None
    has_more: bool
    object: str = "list"


class InputTokens(msgspec.Struct):
    input_tokens: int
    object: str = "response.input_tokens"


async def retrieve_response(request: Request, *, services: Services) -> HttpResponse:
    for name in ("stream", "starting_after"):
        if request.query_params.get(name, "false") != "false":
            raise Unsupported("A stored response cannot be streamed. Retrieve it without stream.", param=name)
    stored = await _stored(request, services)
    return HttpResponse(stored.response, media_type="application/json")


async def delete_response(request: Request, *, services: Services) -> HttpResponse:
    stored, store = await _stored(request, services), _store(services)
    await services.responses.background.cancel(stored.id)
    await asyncio.to_thread(store.delete, stored.key_id, stored.id)
    return json_response(ResponseDeleted(stored.id))


async def cancel_response(request: Request, *, services: Services) -> HttpResponse:
    """Cancel a response in the background. One that has ended stays as it is."""
    stored = await _stored(request, services)
    if not msgspec.json.decode(stored.response)["background"]:
        raise InvalidRequest("Only a response in the background can be cancelled.", param="response_id")
    if await services.responses.background.cancel(stored.id):
        stored = await _stored(request, services)
    elif stored.alive_until is not None:
        stored = as_cancelled(stored)
        await asyncio.to_thread(_store(services).save, stored)
    return HttpResponse(stored.response, media_type="application/json")


async def list_input_items(request: Request, *, services: Services) -> HttpResponse:
    stored = await _stored(request, services)
    order = request.query_params.get("order", "desc")
    if order not in ("asc", "desc"):
        raise InvalidRequest("order must be one of asc, desc.", param="order", code="invalid_value")
    items = msgspec.json.decode(stored.input, type=list[dict[str, Any]])
    if order == "desc":
        items.reverse()
    limit = _limit(request)
    after = request.query_params.get("after")
    if after is not None:
        index = next((index for index, item in enumerate(items) if item["id"] == after), None)
        if index is None:
            raise InvalidRequest(f"after names no item of this response: '{after[:100]}'", param="after")
        items = items[index + 1 :]
    page = items[:limit]
    ids = [item["id"] for item in page]
    first, last = (ids[0], ids[-1]) if ids else (None, None)
    return json_response(InputItemList(page, first, last, has_more=len(items) > limit))


async def list_responses(request: Request, *, services: Services) -> HttpResponse:
    """The caller's responses, newest first."""
    store, key_id, limit = _store(services), Exchange.of(request.scope).caller.id, _limit(request)
    if "before" in request.query_params:
        raise Unsupported("Pages go from newer to older responses. Send after.", param="before")
    after, before = request.query_params.get("after"), None
    if after is not None:
        last = await asyncio.to_thread(store.find, key_id, after)
        if last is None:
            raise not_found(after, param="after")
        before = last.created_at
    rows = await asyncio.to_thread(store.latest, key_id, limit + 1, before=before)
    page = rows[:limit]
    first_id, last_id = (page[0].id, page[-1].id) if page else (None, None)
    data = [msgspec.Raw(as_it_is(row).response) for row in page]
    return json_response(ResponseList(data, first_id, last_id, has_more=len(rows) > limit))


async def count_input_tokens(
    request: Request, services: Services, dialect: Dialect, *, endpoint: Endpoint[ResponsesRequest, ResponsesChat]
) -> HttpResponse:
    sent = await read_json(request, ResponsesRequest, services.settings)
    sent = await load(sent, request, services)
    with endpoint.naming():
        num_tokens = await count_tokens(request, endpoint.body(sent, dialect), endpoint.prepare, services, dialect)
    return json_response(InputTokens(num_tokens))


def _store(services: Services) -> ResponseStore:
    if services.responses.store is None:
        raise not_stored("response_id")
    return services.responses.store


async def _stored(request: Request, services: Services) -> StoredResponse:
    """The response of the path, of the caller's key. Raises NotFound."""
    store, response_id = _store(services), request.path_params["response_id"]
    stored = await found(store, Exchange.of(request.scope).caller.id, response_id)
    if stored is None:
        raise not_found(response_id)
    return stored


def _limit(request: Request) -> int:
    text = request.query_params.get("limit", "20")
    try:
        limit = parse_count(text)
    except ValueError:
        limit = 0
    if not 1 <= limit <= _MAX_PAGE:
        raise InvalidRequest(f"limit must be between 1 and {_MAX_PAGE}: {text[:20]!r}", param="limit")
    return limit
