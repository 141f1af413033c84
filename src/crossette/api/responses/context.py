"""What the server has for a request to /responses: its settings, and what it stores."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request

from crossette.api.exchange import ANSWER_ID, Exchange
from crossette.api.responses.keeper import Keeper, history_of, records_of, referred
from crossette.api.responses.schema import Item, ResponsesRequest
from crossette.api.responses.tools import tools_of
from crossette.api.schema_headers import listed
from crossette.api.services import Services
from crossette.errors import InvalidRequest, Unsupported

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Context:
    """Without a server it is empty."""

    history: list[Item] = field(default_factory=list)
    """The items of the stored responses that the request continues."""
    skips_tools: bool = False
    keeper: Keeper | None = None
    """Stores the response; None if it is not stored."""


class LoadedRequest(ResponsesRequest, kw_only=True, forbid_unknown_fields=True):
    """A request and its context."""

    context: Any  # Any: `Context`, which is no wire type


def context_of(sent: ResponsesRequest) -> Context:
    context: Context = sent.context if isinstance(sent, LoadedRequest) else Context()
    return context


async def load(sent: ResponsesRequest, request: Request, services: Services) -> ResponsesRequest:
    """Complete a request. Raises InvalidRequest for what the server does not allow, and NotFound."""
    exchange, service = Exchange.of(request.scope), services.responses
    if service.skips_builtin_tools:
        _name_skipped(sent, exchange)
    fields = {name: getattr(sent, name) for name in sent.__struct_fields__}
    store, key_id = service.store, exchange.caller.id
    if store is None:
        _refuse_stored(sent)
        return LoadedRequest(**fields, context=Context(skips_tools=service.skips_builtin_tools))
    _check_background(sent)
    if isinstance(sent.input, list):
        fields["input"] = await referred(store, key_id, sent.input)
    keeper = None
    if sent.store is not False:
        records = records_of(fields["input"], exchange.answer_id)
        keeper = Keeper(
            store,
            key_id,
            sent.previous_response_id,
            records,
            is_required=sent.store is True,
            is_background=ANSWER_ID in request.scope,
        )
    history = await history_of(store, key_id, sent.previous_response_id)
    return LoadedRequest(**fields, context=Context(history, service.skips_builtin_tools, keeper))


def _name_skipped(sent: ResponsesRequest, exchange: Exchange) -> None:
    if skipped := tools_of(sent.tools or (), skips_others=True).skipped:
        value = listed(skipped)
        exchange.notes["x-crossette-skipped-tools"] = value
        log.info("x-crossette-skipped-tools: %s", value)


def _refuse_stored(sent: ResponsesRequest) -> None:
    """Raise Unsupported for what needs stored responses."""
    for name in ("store", "background", "previous_response_id"):
        if getattr(sent, name):
            raise not_stored(name)
    for index, item in enumerate(sent.input if isinstance(sent.input, list) else ()):
        if item.type == "item_reference":
            raise not_stored(f"input[{index}].type")


def not_stored(param: str) -> Unsupported:
    return Unsupported(
        f"'{param}' needs stored responses, and this server stores none: its setting store_responses is not set. Leave "
        "it out, and send the whole conversation as input, with store: false.",
        param=param,
        hint="--store-responses DURATION stores them",
    )


def _check_background(sent: ResponsesRequest) -> None:
    if not sent.background:
        return
    if sent.stream:
        raise Unsupported("A response in the background cannot be streamed. Retrieve it by its id.", param="stream")
    if sent.store is False:
        raise InvalidRequest("A response in the background must be stored: leave out store: false.", param="store")
