"""The routes: those of each dialect, and those of the server itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from crossette.api import chat, completions, files, health
from crossette.api.anthropic.endpoint import MESSAGES, count_message_tokens
from crossette.api.batches import handlers as batches
from crossette.api.dialect import Dialect
from crossette.api.docs.pages import Docs
from crossette.api.embeddings.embeddings import create_embeddings
from crossette.api.embeddings.rerank import create_ranking
from crossette.api.endpoint import Endpoint, as_sent
from crossette.api.exchange import Exchange
from crossette.api.generate import create
from crossette.api.guards.admission import Admission
from crossette.api.home import Home, version
from crossette.api.model_list import list_models, retrieve_model
from crossette.api.model_load import load_model, unload_model
from crossette.api.pull import pull_model
from crossette.api.responses.body import chat_of, names
from crossette.api.responses.body import prepare as prepare_response
from crossette.api.responses.context import load
from crossette.api.responses.deferred import defer
from crossette.api.responses.reply import WIRE, ResponsesReply
from crossette.api.responses.schema import ResponsesRequest
from crossette.api.responses.stored import (
    cancel_response,
    count_input_tokens,
    delete_response,
    list_input_items,
    list_responses,
    retrieve_response,
)
from crossette.api.schema.chat import ChatRequest
from crossette.api.schema.completions import CompletionRequest
from crossette.api.services import Services
from crossette.api.tokenize import apply_template, detokenize, tokenize
from crossette.api.unserved import endpoint_name
from crossette.api.usage import report_usage
from crossette.api.wire import CHUNKS, Wire
from crossette.errors import ShuttingDown

Create = Callable[[Request, Services, Dialect, Admission], Awaitable[Response]]
"""Answers a request whose key has been admitted."""
Handler = Callable[[Request, Services, Dialect], Awaitable[Response]]
FileHandler = Callable[[Request, Services], Awaitable[Response]]

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


def open_routes(services: Services) -> list[Route]:
    """Routes that need no key."""
    docs = Docs(services.models, services.dialects)
    routes = [
        Route("/openapi.json", docs.json),
        Route("/docs", docs.page),
        Route("/health", partial(_health, services)),
        Route("/health/live", partial(health.live, models=services.models)),
        Route("/health/ready", partial(_ready, services)),
        Route("/ping", partial(_health, services), methods=["GET", "POST"]),
        Route("/version", version),
    ]
    home = Home(services.dialects, [endpoint_name(route) for route in (*routes, *closed_routes(services))])
    return [Route("/", home.respond), *routes]


def closed_routes(services: Services) -> list[Route]:
    """Routes that need a key, if the server has any."""
    routes = [Route("/metrics", partial(health.metrics, metrics=services.metrics))]
    for dialect in services.dialects:
        routes += _dialect_routes(services, dialect)
    return routes


def generating_paths(dialects: Sequence[Dialect]) -> dict[str, tuple[str, str]]:
    """Dialect and endpoint of each path that generates or embeds."""
    endpoints = (*GENERATING, *EMBEDDING)
    return {dialect.prefix + endpoint: (dialect.name, endpoint) for dialect in dialects for endpoint in endpoints}


def wire_of(path: str, dialects: Sequence[Dialect]) -> Wire:
    """The wire format of a path: that of the endpoint, also for the paths under it."""
    for dialect in dialects:
        for endpoint in GENERATING.values():
            own = dialect.prefix + endpoint.path
            if path == own or path.startswith(own + "/"):
                return endpoint.wire
    return CHUNKS


def _dialect_routes(services: Services, dialect: Dialect) -> list[Route]:
    prefix = dialect.prefix
    charged = {**{path: _generating(endpoint) for path, endpoint in GENERATING.items()}, **EMBEDDING}
    limited: dict[str, Callable[[Request], Awaitable[Response]]] = {
        **{path: partial(_charged, services, dialect, create) for path, create in charged.items()},
        **{path: partial(_counted, services, dialect, handler) for path, handler in COUNTED.items()},
    }

    def of_models(endpoint: Callable[..., Awaitable[Response]]) -> partial[Awaitable[Response]]:
        return partial(endpoint, models=services.models, dialect=dialect)

    def of_services(endpoint: Callable[..., Awaitable[Response]]) -> partial[Awaitable[Response]]:
        return partial(endpoint, services=services, dialect=dialect)

    def of_responses(endpoint: Callable[..., Awaitable[Response]]) -> partial[Awaitable[Response]]:
        return partial(endpoint, services=services)

    return [
        *(Route(prefix + path, handler, methods=["POST"]) for path, handler in limited.items()),
        Route(f"{prefix}/responses", of_responses(list_responses)),
        Route(f"{prefix}/responses/{{response_id}}", of_responses(retrieve_response)),
        Route(f"{prefix}/responses/{{response_id}}", of_responses(delete_response), methods=["DELETE"]),
        Route(f"{prefix}/responses/{{response_id}}/cancel", of_responses(cancel_response), methods=["POST"]),
        Route(f"{prefix}/responses/{{response_id}}/input_items", of_responses(list_input_items)),
        *_file_routes(services, prefix),
        Route(f"{prefix}/usage", partial(report_usage, reader=services.usage)),
        Route(f"{prefix}/models", of_models(list_models)),
        Route(f"{prefix}/models/pull", of_services(pull_model), methods=["POST"]),
        Route(f"{prefix}/models/{{name:path}}/load", of_services(load_model), methods=["POST"]),
        Route(f"{prefix}/models/{{name:path}}/unload", of_services(unload_model), methods=["POST"]),
        Route(f"{prefix}/models/{{name:path}}", of_models(retrieve_model)),
    ]


def _file_routes(services: Services, prefix: str) -> list[Route]:
    endpoints = tuple(generating_paths(services.dialects))

    def route(path: str, **handlers: FileHandler) -> Route:
        return Route(prefix + path, partial(_by_method, services, handlers), methods=list(handlers))

    return [
        route("/files", GET=files.list_files, POST=files.upload_file),
        route("/files/{file_id}", GET=files.retrieve_file, DELETE=files.delete_file),
        route("/files/{file_id}/content", GET=files.download_file),
        route("/batches", GET=batches.list_batches, POST=partial(batches.create_batch, endpoints=endpoints)),
        route("/batches/{batch_id}", GET=batches.retrieve_batch),
        route("/batches/{batch_id}/cancel", POST=batches.cancel_batch),
    ]


async def _by_method(services: Services, handlers: Mapping[str, FileHandler], request: Request) -> Response:
    """Call the handler of the request's method: a path has one route, so that a 405 lists all its methods."""
    return await handlers["GET" if request.method == "HEAD" else request.method](request, services)


def _generating(endpoint: Endpoint[Any, Any]) -> Create:
    async def create_answer(request: Request, services: Services, dialect: Dialect, admission: Admission) -> Response:
        return await create(request, endpoint, services, dialect, admission)

    return create_answer


async def _charged(services: Services, dialect: Dialect, create: Create, request: Request) -> Response:
    return await create(request, services, dialect, _enter(services, dialect, request))


async def _counted(services: Services, dialect: Dialect, handler: Handler, request: Request) -> Response:
    _enter(services, dialect, request)
    return await handler(request, services, dialect)


def _enter(services: Services, dialect: Dialect, request: Request) -> Admission:
    """Enter a request into the limits of its key. Raises ShuttingDown, and what the limits raise."""
    if services.is_draining():
        raise ShuttingDown("The server is shutting down. Retry in a moment.")
    exchange = Exchange.of(request.scope)
    exchange.admission = admission = services.admissions.admission(exchange.caller, dialect)
    admission.enter()
    return admission


async def _health(services: Services, request: Request) -> Response:
    return await health.health(request, services.models, draining=services.is_draining())


async def _ready(services: Services, request: Request) -> Response:
    return await health.ready(request, services.models, services.ledger, draining=services.is_draining())
