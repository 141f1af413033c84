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
from crossette.api.endpoint import Endpoint, as_sent
from crossette.api.exchange import Exchange
from crossette.api.generate import create
from crossette.api.home import Home, version
from crossette.api.model_list import list_models, retrieve_model
from crossette.api.model_load import load_model, unload_model
from crossette.api.pull import pull_model
from crossette.api.schema.chat import ChatRequest
from crossette.api.schema.completions import CompletionRequest
from crossette.api.services import Services
from crossette.api.tokenize import apply_template, detokenize, tokenize
from crossette.api.unserved import endpoint_name
from crossette.api.usage import report_usage
from crossette.api.wire import CHUNKS, Wire
from crossette.errors import ShuttingDown

COMPLETIONS = Endpoint("/completions", CompletionRequest, as_sent, completions.prepare, completions.CompletionReply)
CHAT = Endpoint("/chat/completions", ChatRequest, as_sent, chat.prepare, chat.ChatReply)
GENERATING: Mapping[str, Endpoint[Any, Any]] = {endpoint.path: endpoint for endpoint in (COMPLETIONS, CHAT, MESSAGES)}
"""Endpoints that generate, under a dialect's prefix. Their requests are charged and have a ledger entry."""


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
    """Dialect and endpoint of each path that generates."""
    return {dialect.prefix + endpoint: (dialect.name, endpoint) for dialect in dialects for endpoint in GENERATING}


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
    generating = [
        Route(prefix + path, partial(_generate, services, dialect, endpoint), methods=["POST"])
        for path, endpoint in GENERATING.items()
    ]

    counting = partial(count_message_tokens, services=services, dialect=dialect)

    def of_models(endpoint: Callable[..., Awaitable[Response]]) -> partial[Awaitable[Response]]:
        return partial(endpoint, models=services.models, dialect=dialect)

    def of_services(endpoint: Callable[..., Awaitable[Response]]) -> partial[Awaitable[Response]]:
        return partial(endpoint, services=services, dialect=dialect)

    return [
        *generating,
        *_file_routes(services, prefix),
        Route(f"{prefix}/tokenize", of_services(tokenize), methods=["POST"]),
        Route(f"{prefix}/detokenize", of_services(detokenize), methods=["POST"]),
        Route(f"{prefix}/apply-template", of_services(apply_template), methods=["POST"]),
        Route(f"{prefix}/messages/count_tokens", counting, methods=["POST"]),
        Route(f"{prefix}/usage", partial(report_usage, reader=services.usage)),
        Route(f"{prefix}/models", of_models(list_models)),
        Route(f"{prefix}/models/pull", of_services(pull_model), methods=["POST"]),
        Route(f"{prefix}/models/{{name:path}}/load", of_services(load_model), methods=["POST"]),
        Route(f"{prefix}/models/{{name:path}}/unload", of_services(unload_model), methods=["POST"]),
        Route(f"{prefix}/models/{{name:path}}", of_models(retrieve_model)),
    ]


Handler = Callable[..., Awaitable[Response]]


def _file_routes(services: Services, prefix: str) -> list[Route]:
    endpoints = tuple(generating_paths(services.dialects))

    def route(path: str, **handlers: Handler) -> Route:
        return Route(prefix + path, partial(_by_method, services, handlers), methods=list(handlers))

    return [
        route("/files", GET=files.list_files, POST=files.upload_file),
        route("/files/{file_id}", GET=files.retrieve_file, DELETE=files.delete_file),
        route("/files/{file_id}/content", GET=files.download_file),
        route("/batches", GET=batches.list_batches, POST=partial(batches.create_batch, endpoints=endpoints)),
        route("/batches/{batch_id}", GET=batches.retrieve_batch),
        route("/batches/{batch_id}/cancel", POST=batches.cancel_batch),
    ]


async def _by_method(services: Services, handlers: Mapping[str, Handler], request: Request) -> Response:
    """Call the handler of the request's method: a path has one route, so that a 405 lists all its methods."""
    return await handlers["GET" if request.method == "HEAD" else request.method](request, services)


async def _generate(services: Services, dialect: Dialect, endpoint: Endpoint[Any, Any], request: Request) -> Response:
    if services.is_draining():
        raise ShuttingDown("The server is shutting down. Retry in a moment.")
    exchange = Exchange.of(request.scope)
    exchange.admission = admission = services.admissions.admission(exchange.caller, dialect)
    admission.enter()
    return await create(request, endpoint, services, dialect, admission)


async def _health(services: Services, request: Request) -> Response:
    return await health.health(request, services.models, draining=services.is_draining())


async def _ready(services: Services, request: Request) -> Response:
    return await health.ready(request, services.models, services.ledger, draining=services.is_draining())
