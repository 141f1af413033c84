"""The OpenAPI document, generated from wire types, dialects and errors."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus

import msgspec

from crossette import __version__
from crossette.api.dialect import Dialect
from crossette.api.docs.admin_operations import ADMIN_ANSWERS, OF_ADMINS
from crossette.api.docs.components import components, ref
from crossette.api.docs.error_formats import ANTHROPIC_ERRORS, ERRORS, ErrorFormat
from crossette.api.docs.operations import ANSWERS, OPERATIONS, Operation
from crossette.api.docs.values import Json, exactly
from crossette.api.health import Health, Live, Ready
from crossette.api.home import Version
from crossette.api.schema.files import MAX_EXPIRY_S, MIN_EXPIRY_S
from crossette.api.wire import ErrorBody
from crossette.errors import (
    ServingError,
)


def _refusals(wire: ErrorFormat) -> tuple[type[ServingError], ...]:
    """All errors of operations in a wire format."""
    operations = (operation for operation in (*OPERATIONS, *OF_ADMINS) if operation.wire is wire)
    return tuple(dict.fromkeys(error for operation in operations for error in operation.errors))


def document(model_names: Sequence[str], dialects: Sequence[Dialect]) -> Json:
    """The OpenAPI document of a server that serves these models, in these dialects."""
    paths = {
        "/health": {"get": _probe("check")},
        "/ping": {"get": _probe("ping"), "post": _probe("ping_post")},
        "/version": {"get": _version()},
        "/health/live": {"get": _live()},
        "/health/ready": {"get": _ready()},
        "/metrics": {"get": _metrics()},
    }
    for dialect in dialects:
        for operation in OPERATIONS:
            methods = paths.setdefault(dialect.prefix + operation.path, {})
            methods[operation.method] = _described(operation, dialect, model_names, dialect.name)
    for operation in OF_ADMINS:
        methods = paths.setdefault(operation.path, {})
        methods[operation.method] = _described(operation, dialects[0], model_names, "admin")
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "crossette",
            "version": __version__,
            "summary": "The OpenAI API and the Fireworks API for open models.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "tags": [{"name": dialect.name, "description": _traits(dialect)} for dialect in dialects]
        + [
            {"name": "health", "description": "Endpoints for monitoring."},
            {"name": "admin", "description": "Endpoints for admins. They require an admin key."},
        ],
        "paths": paths,
        "components": {
            "schemas": components((*ANSWERS, *ADMIN_ANSWERS), dialects),
            "responses": {
                _refusal_name(dialect, wire, status): _refusal(dialect, wire, status)
                for dialect in dialects
                for wire in (ERRORS, ANTHROPIC_ERRORS)
                for status in sorted({error.status for error in _refusals(wire)})
            },
            "headers": {"RequestId": _REQUEST_ID},
            "securitySchemes": _SECURITY_SCHEMES,
        },
        "security": [*({name: []} for name in _SECURITY_SCHEMES), {}],
    }


_SECURITY_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key, if the server has any."},
    "x-api-key": {
        "type": "apiKey",
        "in": "header",
        "name": "x-api-key",
        "description": "The same key in another header.",
    },
}

# --- operations ---

_REQUEST_ID = {
    "description": "The request id in the log: the caller's x-request-id, or one that the server generated.",
    "required": True,
    "schema": {"type": "string"},
}


def _described(operation: Operation, dialect: Dialect, names: Sequence[str], tag: str) -> Json:
    content = {"application/json": {"schema": ref(operation.answer)}}
    if operation.is_download:
        content = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
    if operation.chunk:
        content["text/event-stream"] = {"schema": _event(operation.chunk)}
    if operation.events:
        content["text/event-stream"] = {"schema": _named_event(operation.events)}
    described: Json = {
        "operationId": f"{tag}_{operation.name}",
        "tags": [tag],
        "summary": operation.summary,
    }
    if "{name}" in operation.path:
        schema = {"type": "string", "minLength": 1, "examples": names}
        named = {"name": "name", "in": "path", "required": True, "description": "A model name or an alias."}
        described["parameters"] = [{**named, "schema": schema}]
    for name in re.findall("{([a-z]+_id)}", operation.path):
        schema = {"type": "string", "minLength": 1}
        of_id = {"name": name, "in": "path", "required": True, "description": "The id of the object."}
        described["parameters"] = [{**of_id, "schema": schema}]
    if operation.query:
        described["parameters"] = described.get("parameters", []) + [
            _parameter(name, *details) for name, details in operation.query.items()
        ]
    if operation.body:
        needs_model = "model" in (field.name for field in msgspec.structs.fields(operation.body))
        named = {"model": next(iter(names), "model")} if operation.needs_body and needs_model else {}
        body = {"schema": ref(operation.body), "example": {**named, **(operation.example or {})}}
        described["requestBody"] = {"required": operation.needs_body, "content": {"application/json": body}}
    if operation.is_upload:
        described["requestBody"] = {"required": True, "content": {"multipart/form-data": {"schema": _UPLOAD}}}
    refusals = {
        str(error.status): {"$ref": f"#/components/responses/{_refusal_name(dialect, operation.wire, error.status)}"}
        for error in sorted(operation.errors, key=lambda error: error.status)
    }
    described["responses"] = {"200": _response("The answer.", content), **refusals}
    return described


_UPLOAD: Json = {
    "type": "object",
    "properties": {
        "file": {"type": "string", "format": "binary", "description": "The file, with a filename."},
        "purpose": {"const": "batch", "description": "What the file is for."},
        "expires_after[anchor]": {"const": "created_at", "description": "Required with expires_after[seconds]."},
        "expires_after[seconds]": {
            "type": "integer",
            "minimum": MIN_EXPIRY_S,
            "maximum": MAX_EXPIRY_S,
            "description": "How long the file is kept.",
        },
    },
    "required": ["file", "purpose"],
}


def _parameter(name: str, description: str, pattern: str, example: str) -> Json:
    schema = {"type": "string", **({"pattern": pattern} if pattern else {}), "examples": [example]}
    return {"name": name, "in": "query", "required": False, "description": description, "schema": schema}


def _event(chunk: type) -> Json:
    """An event of a stream: a chunk, an error, or `[DONE]`."""
    payload = {"anyOf": [ref(chunk), ref(ErrorBody)]}
    encoded = {"type": "string", "contentMediaType": "application/json", "contentSchema": payload}
    return {
        "description": "One server-sent event. The last one is [DONE], or an error.",
        "type": "object",
        "properties": {"data": {"anyOf": [{"const": "[DONE]"}, encoded]}},
        "required": ["data"],
    }


def _named_event(events: Sequence[type]) -> Json:
    """An event of a stream: its name is the `type` in its data."""
    payload = {"anyOf": [ref(event) for event in events]}
    names = [str(event.__struct_config__.tag) for event in events]  # type: ignore[attr-defined]  # of a struct
    return {
        "description": "One server-sent event. The last one is message_stop, or error.",
        "type": "object",
        "properties": {
            "event": exactly(names),
            "data": {"type": "string", "contentMediaType": "application/json", "contentSchema": payload},
        },
        "required": ["event", "data"],
    }


def _refusal_name(dialect: Dialect, wire: ErrorFormat, status: int) -> str:
    return "_".join(filter(None, (dialect.name, wire.name, str(status))))


def _refusal(dialect: Dialect, wire: ErrorFormat, status: int) -> Json:
    """The response for an error status, with the types and codes that it has in the dialect."""
    errors = [error for error in _refusals(wire) if error.status == status]
    schema = {"allOf": [ref(wire.body), {"properties": {"error": {"properties": wire.detail(dialect, errors)}}}]}
    return _response(f"{HTTPStatus(status).phrase}.", {"application/json": {"schema": schema}})


def _response(description: str, content: Json) -> Json:
    headers = {"x-request-id": {"$ref": "#/components/headers/RequestId"}}
    return {"description": description, "headers": headers, "content": content}


def _probe(name: str) -> Json:
    statuses = {"200": "The server accepts requests.", "503": "It is shutting down, or an engine failed or is stalled."}
    return _health(name, "Check whether the server accepts requests, as monitors do.", statuses, Health)


def _version() -> Json:
    content = {"application/json": {"schema": ref(Version)}}
    responses = {"200": _response("The version.", content)}
    return {"operationId": "version", "tags": ["health"], "summary": "Read the version.", "responses": responses}


def _live() -> Json:
    statuses = {"200": "The process and its engines are alive.", "503": "An engine has stopped: restart the process."}
    return _health("live", "Check whether the process and its engines are alive.", statuses, Live)


def _ready() -> Json:
    statuses = {"200": "The server accepts requests.", "503": "The server is shutting down, or an engine is stalled."}
    return _health("ready", "Check whether the server accepts requests.", statuses, Ready)


def _metrics() -> Json:
    text = {
        "text/plain": {"schema": {"type": "string"}},
        "application/openmetrics-text": {"schema": {"type": "string"}},
    }
    return {
        "operationId": "metrics",
        "tags": ["health"],
        "summary": "Read all metrics in a Prometheus format.",
        "responses": {"200": _response("The metrics that docs/metrics.md lists.", text)},
    }


def _health(name: str, summary: str, statuses: Mapping[str, str], answer: type) -> Json:
    content = {"application/json": {"schema": ref(answer)}}
    responses = {status: _response(description, content) for status, description in statuses.items()}
    return {"operationId": f"health_{name}", "tags": ["health"], "summary": summary, "responses": responses}


def _traits(dialect: Dialect) -> str:
    """The behaviour of a dialect, one sentence per line."""
    overflow = "`max_tokens` is lowered" if dialect.overflow == "truncate" else "the request is rejected"
    usage = "on request" if dialect.usage_in_stream == "on_request" else "in the chunk that has `finish_reason`"
    traits = [
        f"Text {'includes' if dialect.include_stop else 'excludes'} the stop string.",
        f"If the prompt and `max_tokens` exceed the context window, {overflow}.",
        f"The default `max_tokens` of /completions is {dialect.completion_max_tokens}.",
        f"Streams have usage {usage}.",
    ]
    return "\n".join(traits)
