"""The endpoints that are within the limits of a key."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from crossette.api import chat, completions
from crossette.api.anthropic.endpoint import MESSAGES, count_message_tokens
from crossette.api.dialect import Dialect
from crossette.api.embeddings.embeddings import create_embeddings
from crossette.api.embeddings.rerank import create_ranking
from crossette.api.endpoint import Endpoint, as_sent
from crossette.api.exchange import Exchange
from crossette.api.generate import create
from crossette.api.guards.admission import Admission
from crossette.api.responses.body import chat_of, names
from crossette.api.responses.body import prepare as prepare_response
from crossette.api.responses.context import load
from crossette.api.responses.deferred import defer
from crossette.api.responses.reply import WIRE, ResponsesReply
from crossette.api.responses.schema import ResponsesRequest
from crossette.api.responses.stored import (
    count_input_tokens,
)
from crossette.api.schema.chat import ChatRequest
from crossette.api.schema.completions import CompletionRequest
from crossette.api.services import Services
from crossette.api.tokenize import apply_template, detokenize, tokenize
from crossette.api.wire import CHUNKS, Wire
from crossette.errors import ShuttingDown

Create = Callable[[Request, Services, Dialect, Admission], Awaitable[Response]]
"""Answers a request whose key has been admitted."""
Handler = Callable[[Request, Services, Dialect], Awaitable[Response]]
"""Answers a request that counts for the limits of its key."""

COMPLETIONS = Endpoint("/completions", CompletionRequest, as_sent, completions.prepare, completions.CompletionReply)
CHAT = Endpoint("/chat/completions", ChatRequest, as_sent, chat.prepare, chat.ChatReply)
RESPONSES = Endpoint(
    "/responses", ResponsesRequest, chat_of, prepare_response, ResponsesReply, WIRE, names, load, defer
)
GENERATING: Mapping[str, Endpoint[Any, Any]] = {
    endpoint.path: endpoint for endpoint in (COMPLETIONS, CHAT, RESPONSES, MESSAGES)
}
"""Endpoints that generate, under a dialect's prefix. Their requests are charged and have a ledger entry."""
EMBEDDING: Mapping[str, Create] = {"/embeddings": create_embeddings, "/rerank": create_ranking}
"""Endpoints of embedding models. Their requests are charged too."""
COUNTED: Mapping[str, Handler] = {
    "/messages/count_tokens": count_message_tokens,
    "/responses/input_tokens": partial(count_input_tokens, endpoint=RESPONSES),
    "/tokenize": tokenize,
    "/detokenize": detokenize,
    "/apply-template": apply_template,
}
"""Endpoints of tokenizers. Their requests count for the limits of a key; their tokens are not charged."""


def generating_paths(dialects: Sequence[Dialect]) -> dict[str, tuple[str, str]]:
    """Dialect and endpoint of each path that generates or embeds."""
    endpoints = (*GENERATING, *EMBEDDING)
    return {dialect.prefix + endpoint: (dialect.name, endpoint) for dialect in dialects for endpoint in endpoints}


def wires(dialects: Sequence[Dialect]) -> Callable[[str], Wire]:
    """A function for the wire format of a path: that of the endpoint, also for the paths under it."""
    endpoints = [endpoint for endpoint in GENERATING.values() if endpoint.wire is not CHUNKS]
    named = [(f"{dialect.prefix}{endpoint.path}/", endpoint.wire) for dialect in dialects for endpoint in endpoints]

    def wire_of(path: str) -> Wire:
        for under, wire in named:
            if f"{path}/".startswith(under):
                return wire
        return CHUNKS

    return wire_of


def limited(services: Services, dialect: Dialect) -> dict[str, Callable[[Request], Awaitable[Response]]]:
    """The handler of each path under a dialect's prefix. All of them are POST."""
    charged = {**{path: _generating(endpoint) for path, endpoint in GENERATING.items()}, **EMBEDDING}
    return {
        **{path: partial(_charged, services, dialect, create) for path, create in charged.items()},
        **{path: partial(_counted, services, dialect, handler) for path, handler in COUNTED.items()},
    }


def _generating(endpoint: Endpoint[Any, Any]) -> Create:
    async def create_answer(request: Request, services: Services, dialect: Dialect, admission: Admission) -> Response:
        return await create(request, endpoint, services, dialect, admission)

    return create_answer


async def _charged(services: Services, dialect: Dialect, create: Create, request: Request) -> Response:
    return await create(request, services, dialect, await _enter(services, dialect, request))


async def _counted(services: Services, dialect: Dialect, handler: Handler, request: Request) -> Response:
    await _enter(services, dialect, request)
    return await handler(request, services, dialect)


async def _enter(services: Services, dialect: Dialect, request: Request) -> Admission:
    """Enter a request into the limits of its key. Raises ShuttingDown, and what the limits raise."""
    if services.is_draining():
        raise ShuttingDown("The server is shutting down. Retry in a moment.")
    exchange = Exchange.of(request.scope)
    exchange.admission = admission = services.admissions.admission(exchange.caller, dialect)
    await admission.enter()
    return admission
