"""The OpenAPI document, generated from wire types, dialects and errors."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, get_args

import msgspec

from crossette import __version__
from crossette.accounts.ledger import GROUP_BY_PATTERN
from crossette.api.anthropic.answer import AnswerMessage, Event, TokenCount
from crossette.api.anthropic.request import CountTokensRequest, MessagesRequest
from crossette.api.anthropic.wire import AnthropicError, Ping
from crossette.api.dialect import Dialect
from crossette.api.docs.components import components, ref
from crossette.api.docs.error_formats import ANTHROPIC_ERRORS, ERRORS, ErrorFormat
from crossette.api.docs.values import Json, exactly
from crossette.api.health import Health, Live, Ready
from crossette.api.home import Version
from crossette.api.model_list import ModelEntry, ModelList
from crossette.api.model_load import LoadEvent, LoadRequest
from crossette.api.pull import PullRequest
from crossette.api.puller import PullEvent
from crossette.api.responses import events as response_events
from crossette.api.responses.answer import Response
from crossette.api.responses.schema import ResponsesRequest
from crossette.api.responses.stored import InputItemList, InputTokens, ResponseDeleted, ResponseList
from crossette.api.schema.batches import BatchList, BatchObject, BatchRequest
from crossette.api.schema.chat import ChatChunk, ChatCompletion, ChatRequest
from crossette.api.schema.completions import Completion, CompletionRequest
from crossette.api.schema.embeddings import EmbeddingList, EmbeddingRequest
from crossette.api.schema.files import MAX_EXPIRY_S, MIN_EXPIRY_S, FileDeleted, FileList, FileObject
from crossette.api.schema.rerank import Ranking, RerankRequest
from crossette.api.schema.tokenize import (
    AppliedTemplate,
    ApplyTemplateRequest,
    Detokenized,
    DetokenizeRequest,
    TokenizeRequest,
    Tokens,
)
from crossette.api.usage import UsageReport
from crossette.api.wire import ErrorBody
from crossette.errors import (
    BatchEnded,
    ConstraintFailed,
    EngineFailure,
    FileInUse,
    Forbidden,
    InvalidRequest,
    MethodNotAllowed,
    ModelInUse,
    ModelNotFound,
    ModelUnavailable,
    NoChatTemplate,
    NotFound,
    Overloaded,
    PullFailed,
    RateLimited,
    RequestTimeout,
    RequestTooLarge,
    RetryLater,
    ServingError,
    ShuttingDown,
    Unauthorized,
    UnknownField,
    Unsupported,
    UnsupportedCoding,
    UpstreamFailed,
    UpstreamTimeout,
)
from crossette.timespec import PATTERN as MOMENT_PATTERN

_ANSWERS = (
    Completion,
    ChatCompletion,
    ChatChunk,
    AnswerMessage,
    *get_args(Event),
    Ping,
    TokenCount,
    AnthropicError,
    EmbeddingList,
    Ranking,
    Response,
    *get_args(response_events.StreamEvent),
    ResponseList,
    ResponseDeleted,
    InputItemList,
    InputTokens,
    ModelList,
    ModelEntry,
    UsageReport,
    Health,
    Live,
    Ready,
    Version,
    PullEvent,
    PullRequest,
    FileObject,
    FileList,
    FileDeleted,
    BatchObject,
    BatchList,
    BatchRequest,
    LoadEvent,
    LoadRequest,
    Tokens,
    Detokenized,
    AppliedTemplate,
    ErrorBody,
)


def _kinds(error: type[ServingError]) -> Iterator[type[ServingError]]:
    """The class and all its subclasses."""
    yield error
    for kind in error.__subclasses__():
        yield from _kinds(kind)


_ANYWHERE = (Unauthorized, EngineFailure)
_OTHERS = (ServingError, RetryLater, NotFound, MethodNotAllowed, ModelInUse, FileInUse, BatchEnded, PullFailed)
"""Errors that no request for an answer gets: base classes, and errors of other paths."""


_BODY = (RequestTimeout, RequestTooLarge, UnsupportedCoding)


@dataclass(frozen=True, slots=True)
class _Operation:
    """One method of one path: with a `chunk`, or with `events`, it can stream."""

    name: str
    path: str
    summary: str
    answer: type
    errors: Iterable[type[ServingError]] = _ANYWHERE
    body: type | None = None
    chunk: type | None = None
    example: Mapping[str, Any] | None = None
    query: Mapping[str, tuple[str, str, str]] = field(default_factory=dict)
    """Query parameters: description, pattern and example of each."""
    is_command: bool = False
    """Whether it is a POST without a body."""
    is_upload: bool = False
    """Whether its body is a form with a file."""
    is_download: bool = False
    """Whether it answers with the bytes of a file."""
    is_deletion: bool = False
    needs_body: bool = True
    """Whether a body that it can have is required, as is a model's name in it."""
    events: Sequence[type] = ()
    """The named events of its stream."""
    wire: ErrorFormat = ERRORS

    @property
    def method(self) -> str:
        if self.is_deletion:
            return "delete"
        return "post" if self.body or self.is_command or self.is_upload else "get"


_USAGE_QUERY = {
    "group_by": ("Group by a comma-separated list of key, model and day.", GROUP_BY_PATTERN, "key,day"),
    "since": ("Count requests since this time, or since this long ago.", MOMENT_PATTERN, "7d"),
}

_PAGE = {
    "limit": ("How many objects the page has at most.", "^([1-9][0-9]?|100)$", "20"),
    "after": ("The id of the last object of the page before.", "", "resp_1"),
}
_STORED = (Unsupported, NotFound, *_ANYWHERE)

_GENERATING = tuple(kind for kind in _kinds(ServingError) if kind not in _OTHERS)

_OF_TOKENIZER = tuple(
    kind for kind in _GENERATING if not issubclass(kind, ConstraintFailed | UpstreamFailed | UpstreamTimeout)
)
_EMBEDDING = tuple(kind for kind in _OF_TOKENIZER if kind is not NoChatTemplate)

IN_EACH_DIALECT = (
    _Operation(
        "createCompletion",
        "/completions",
        "Create a completion of a prompt.",
        Completion,
        _GENERATING,
        CompletionRequest,
        Completion,
        {"prompt": "Once upon a time", "max_tokens": 16},
    ),
    _Operation(
        "createChatCompletion",
        "/chat/completions",
        "Create a completion of a chat conversation.",
        ChatCompletion,
        _GENERATING,
        ChatRequest,
        ChatChunk,
        {"messages": [{"role": "user", "content": "What is the capital of France?"}]},
    ),
    _Operation(
        "createMessage",
        "/messages",
        "Create a message, in Anthropic's format.",
        AnswerMessage,
        _GENERATING,
        MessagesRequest,
        example={"max_tokens": 64, "messages": [{"role": "user", "content": "What is the capital of France?"}]},
        events=(*get_args(Event), Ping, AnthropicError),
        wire=ANTHROPIC_ERRORS,
    ),
    _Operation(
        "countMessageTokens",
        "/messages/count_tokens",
        "Count the tokens of the prompt that a message would have.",
        TokenCount,
        (
            *(InvalidRequest, Forbidden, ModelNotFound, NoChatTemplate, RateLimited, ModelUnavailable),
            *_BODY,
            *_ANYWHERE,
        ),
        CountTokensRequest,
        example={"messages": [{"role": "user", "content": "What is the capital of France?"}]},
        wire=ANTHROPIC_ERRORS,
    ),
    _Operation(
        "createEmbedding",
        "/embeddings",
        "Create a vector of each text.",
        EmbeddingList,
        _EMBEDDING,
        EmbeddingRequest,
        example={"input": ["The cat sits.", "A kitten rests."]},
    ),
    _Operation(
        "rerank",
        "/rerank",
        "Rank documents by their similarity to a query.",
        Ranking,
        _EMBEDDING,
        RerankRequest,
        example={"query": "Where is the cat?", "documents": ["Rates rose.", "The cat is on the mat."]},
    ),
    _Operation(
        "createResponse",
        "/responses",
        "Create a response to a text, or to the items of a conversation.",
        Response,
        _GENERATING,
        ResponsesRequest,
        events=get_args(response_events.StreamEvent),
        example={"input": "What is the capital of France?"},
    ),
    _Operation(
        "listResponses",
        "/responses",
        "List the stored responses of the key, newest first.",
        ResponseList,
        (InvalidRequest, *_STORED),
        query=_PAGE,
    ),
    _Operation(
        "countInputTokens",
        "/responses/input_tokens",
        "Count the tokens of the prompt that a response would have.",
        InputTokens,
        _GENERATING,
        ResponsesRequest,
        example={"input": "What is the capital of France?"},
    ),
    _Operation("retrieveResponse", "/responses/{response_id}", "Retrieve a stored response.", Response, _STORED),
    _Operation(
        "deleteResponse",
        "/responses/{response_id}",
        "Delete a stored response.",
        ResponseDeleted,
        _STORED,
        is_deletion=True,
    ),
    _Operation(
        "cancelResponse",
        "/responses/{response_id}/cancel",
        "Cancel a response that runs in the background.",
        Response,
        (InvalidRequest, *_STORED),
        is_command=True,
    ),
    _Operation(
        "listInputItems",
        "/responses/{response_id}/input_items",
        "List the input items of a stored response.",
        InputItemList,
        (InvalidRequest, *_STORED),
        query={**_PAGE, "order": ("Oldest or newest first.", "^(asc|desc)$", "desc")},
    ),
    _Operation("listModels", "/models", "List the models and their aliases.", ModelList),
    _Operation("retrieveModel", "/models/{name}", "Retrieve a model.", ModelEntry, (ModelNotFound, *_ANYWHERE)),
    _Operation(
        "pullModel",
        "/models/pull",
        "Download a model and serve it. Requires an admin key if the server has keys.",
        PullEvent,
        (InvalidRequest, UnknownField, Unsupported, Forbidden, Overloaded, PullFailed, *_BODY, *_ANYWHERE),
        PullRequest,
        PullEvent,
        {"model": "smollm2-135m-instruct"},
    ),
    _Operation(
        "loadModel",
        "/models/{name}/load",
        "Load a model now. Requires an admin key if the server has keys.",
        ModelEntry,
        (InvalidRequest, UnknownField, Unsupported, ModelNotFound, ModelUnavailable, Forbidden, *_BODY, *_ANYWHERE),
        LoadRequest,
        LoadEvent,
        needs_body=False,
    ),
    _Operation(
        "unloadModel",
        "/models/{name}/unload",
        "Unload a model that no request uses. Requires an admin key if the server has keys.",
        ModelEntry,
        (InvalidRequest, UnknownField, Unsupported, ModelNotFound, ModelInUse, Forbidden, *_BODY, *_ANYWHERE),
        LoadRequest,
        LoadEvent,
        needs_body=False,
    ),
    _Operation(
        "tokenize",
        "/tokenize",
        "Tokenize a text or a conversation.",
        Tokens,
        _OF_TOKENIZER,
        TokenizeRequest,
        example={"prompt": "Once upon a time"},
    ),
    _Operation(
        "detokenize",
        "/detokenize",
        "Convert tokens to text.",
        Detokenized,
        _OF_TOKENIZER,
        DetokenizeRequest,
        example={"tokens": [9690, 198]},
    ),
    _Operation(
        "applyTemplate",
        "/apply-template",
        "Render a conversation with the model's template.",
        AppliedTemplate,
        _OF_TOKENIZER,
        ApplyTemplateRequest,
        example={"messages": [{"role": "user", "content": "What is the capital of France?"}]},
    ),
    _Operation(
        "reportUsage",
        "/usage",
        "Report usage by key, model or day. Requires an admin key if the server has keys.",
        UsageReport,
        (InvalidRequest, Forbidden, Overloaded, *_ANYWHERE),
        query=_USAGE_QUERY,
    ),
)

_PAGE = {
    "limit": ("How many objects the page has at most.", "^[1-9][0-9]{0,4}$", "20"),
    "after": ("The id of the last object of the page before.", "", "file-1"),
}
_OF_FILES = (Unsupported, Forbidden, Overloaded, *_ANYWHERE)
_NAMED = (NotFound, *_OF_FILES)

OF_FILES = (
    _Operation(
        "uploadFile",
        "/files",
        "Upload a file of requests for a batch.",
        FileObject,
        (InvalidRequest, UnknownField, *_BODY, *_OF_FILES),
        is_upload=True,
    ),
    _Operation(
        "listFiles",
        "/files",
        "List the files of the key.",
        FileList,
        (InvalidRequest, *_NAMED),
        query={
            **_PAGE,
            "order": ("Oldest or newest first.", "^(asc|desc)$", "desc"),
            "purpose": ("List files with this purpose.", "", "batch"),
        },
    ),
    _Operation("retrieveFile", "/files/{file_id}", "Retrieve a file.", FileObject, _NAMED),
    _Operation("deleteFile", "/files/{file_id}", "Delete a file.", FileDeleted, (FileInUse, *_NAMED), is_deletion=True),
    _Operation("downloadFile", "/files/{file_id}/content", "Download a file.", FileObject, _NAMED, is_download=True),
    _Operation(
        "createBatch",
        "/batches",
        "Run the requests of a file behind live requests.",
        BatchObject,
        (InvalidRequest, UnknownField, ShuttingDown, *_BODY, *_OF_FILES),
        BatchRequest,
        example={"input_file_id": "file-1", "endpoint": "/v1/chat/completions", "completion_window": "24h"},
    ),
    _Operation(
        "listBatches",
        "/batches",
        "List the batches of the key.",
        BatchList,
        (InvalidRequest, *_NAMED),
        query={**_PAGE, "after": (_PAGE["after"][0], "", "batch_1")},
    ),
    _Operation("retrieveBatch", "/batches/{batch_id}", "Retrieve a batch.", BatchObject, _NAMED),
    _Operation(
        "cancelBatch",
        "/batches/{batch_id}/cancel",
        "Cancel a batch.",
        BatchObject,
        (BatchEnded, *_NAMED),
        is_command=True,
    ),
)
"""The operations of a server that stores files; of another one all are a 400."""

OPERATIONS = (*IN_EACH_DIALECT, *OF_FILES)


def _refusals(wire: ErrorFormat) -> tuple[type[ServingError], ...]:
    """All errors of operations in a wire format."""
    operations = (operation for operation in OPERATIONS if operation.wire is wire)
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
            methods[operation.method] = _described(operation, dialect, model_names)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "crossette",
            "version": __version__,
            "summary": "The OpenAI API and the Fireworks API for open models.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "tags": [{"name": dialect.name, "description": _traits(dialect)} for dialect in dialects]
        + [{"name": "health", "description": "Endpoints for monitoring."}],
        "paths": paths,
        "components": {
            "schemas": components(_ANSWERS, dialects),
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


def _described(operation: _Operation, dialect: Dialect, names: Sequence[str]) -> Json:
    content = {"application/json": {"schema": ref(operation.answer)}}
    if operation.is_download:
        content = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
    if operation.chunk:
        content["text/event-stream"] = {"schema": _event(operation.chunk)}
    if operation.events:
        content["text/event-stream"] = {"schema": _named_event(operation.events)}
    described: Json = {
        "operationId": f"{dialect.name}_{operation.name}",
        "tags": [dialect.name],
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
