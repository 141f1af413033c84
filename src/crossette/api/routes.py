"""The routes: those of each dialect, and those of the server itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from crossette.api import files, health
from crossette.api.admin import keys as admin_keys
from crossette.api.batches import handlers as batches
from crossette.api.dialect import Dialect
from crossette.api.docs.pages import Docs
from crossette.api.endpoints import generating_paths, limited
from crossette.api.home import Home, version
from crossette.api.model_list import list_models, retrieve_model
from crossette.api.model_load import load_model, unload_model
from crossette.api.model_removal import remove_model
from crossette.api.pages.site import Site
from crossette.api.pull import pull_model
from crossette.api.responses.stored import (
    cancel_response,
    delete_response,
    list_input_items,
    list_responses,
    retrieve_response,
)
from crossette.api.services import Services
from crossette.api.unserved import endpoint_name
from crossette.api.usage import report_usage

Handle = Callable[[Request], Awaitable[Response]]


def open_routes(services: Services) -> list[Route]:
    """Routes that need no key."""
    docs, site = Docs(services.models, services.dialects), Site()
    routes = [
        *site.pages(),
        Route("/openapi.json", docs.json),
        Route("/docs", docs.page),
        Route("/health", partial(_health, services)),
        Route("/health/live", partial(health.live, models=services.models)),
        Route("/health/ready", partial(_ready, services)),
        Route("/ping", partial(_health, services), methods=["GET", "POST"]),
        Route("/version", version),
    ]
    paths = [endpoint_name(route) for route in (*routes, *closed_routes(services))]
    home = Home(services.dialects, paths, site.document)
    return [Route("/", home.respond), *routes, *site.files()]


def closed_routes(services: Services) -> list[Route]:
    """Routes that need a key, if the server has any."""
    routes = [
        Route("/metrics", partial(health.metrics, metrics=services.metrics)),
        *(Route(path, _by_method(methods), methods=list(methods)) for path, methods in _admin_paths(services).items()),
    ]
    for dialect in services.dialects:
        routes += _dialect_routes(services, dialect)
    return routes


def _admin_paths(services: Services) -> dict[str, dict[str, Handle]]:
    def of(handler: Callable[..., Awaitable[Response]]) -> Handle:
        return partial(handler, services=services)

    return {
        "/admin/keys": {"GET": of(admin_keys.list_keys), "POST": of(admin_keys.create_key)},
        "/admin/keys/{key_id}": {"GET": of(admin_keys.retrieve_key), "POST": of(admin_keys.update_key)},
        "/admin/keys/{key_id}/rotate": {"POST": of(admin_keys.rotate_key)},
        "/admin/keys/{key_id}/revoke": {"POST": of(admin_keys.revoke_key)},
    }


def _dialect_routes(services: Services, dialect: Dialect) -> list[Route]:
    """One route for each path, so that a 405 lists all its methods."""
    paths: dict[str, dict[str, Handle]] = {
        path: {"POST": handle} for path, handle in limited(services, dialect).items()
    }
    others = (_response_paths(services), _file_paths(services), _model_paths(services, dialect))
    for path, methods in (item for table in others for item in table.items()):
        paths.setdefault(path, {}).update(methods)
    paths["/usage"] = {"GET": partial(report_usage, reader=services.usage)}
    return [Route(dialect.prefix + path, _by_method(methods), methods=list(methods)) for path, methods in paths.items()]


def _response_paths(services: Services) -> dict[str, dict[str, Handle]]:
    def of(handler: Callable[..., Awaitable[Response]]) -> Handle:
        return partial(handler, services=services)

    return {
        "/responses": {"GET": of(list_responses)},
        "/responses/{response_id}": {"GET": of(retrieve_response), "DELETE": of(delete_response)},
        "/responses/{response_id}/cancel": {"POST": of(cancel_response)},
        "/responses/{response_id}/input_items": {"GET": of(list_input_items)},
    }


def _file_paths(services: Services) -> dict[str, dict[str, Handle]]:
    endpoints = tuple(generating_paths(services.dialects))

    def of(handler: Callable[..., Awaitable[Response]]) -> Handle:
        return partial(handler, services=services)

    return {
        "/files": {"GET": of(files.list_files), "POST": of(files.upload_file)},
        "/files/{file_id}": {"GET": of(files.retrieve_file), "DELETE": of(files.delete_file)},
        "/files/{file_id}/content": {"GET": of(files.download_file)},
        "/batches": {"GET": of(batches.list_batches), "POST": of(partial(batches.create_batch, endpoints=endpoints))},
        "/batches/{batch_id}": {"GET": of(batches.retrieve_batch)},
        "/batches/{batch_id}/cancel": {"POST": of(batches.cancel_batch)},
    }


def _model_paths(services: Services, dialect: Dialect) -> dict[str, dict[str, Handle]]:
    def read(handler: Callable[..., Awaitable[Response]]) -> Handle:
        return partial(handler, models=services.models, dialect=dialect)

    def change(handler: Callable[..., Awaitable[Response]]) -> Handle:
        return partial(handler, services=services, dialect=dialect)

    return {
        "/models": {"GET": read(list_models)},
        "/models/pull": {"POST": change(pull_model)},
        "/models/{name:path}/load": {"POST": change(load_model)},
        "/models/{name:path}/unload": {"POST": change(unload_model)},
        "/models/{name:path}": {"GET": read(retrieve_model), "DELETE": change(remove_model)},
    }


def _by_method(methods: Mapping[str, Handle]) -> Handle:
    """A handler that calls that of the request's method. GET answers HEAD."""
    if len(methods) == 1:
        return next(iter(methods.values()))

    async def handle(request: Request) -> Response:
        return await methods["GET" if request.method == "HEAD" else request.method](request)

    return handle


async def _health(services: Services, request: Request) -> Response:
    return await health.health(request, services.models, draining=services.is_leaving())


async def _ready(services: Services, request: Request) -> Response:
    return await health.ready(request, services.models, services.ledger, draining=services.is_leaving())
