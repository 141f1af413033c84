"""The operations of the OpenAPI document: what each has, answers, and may fail with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

from crossette.accounts.ledger import GROUP_BY_PATTERN
from crossette.api.anthropic.answer import AnswerMessage, Event, TokenCount
from crossette.api.anthropic.request import CountTokensRequest, MessagesRequest
from crossette.api.anthropic.wire import AnthropicError, Ping
from crossette.api.docs.error_formats import ANTHROPIC_ERRORS, ERRORS, ErrorFormat
from crossette.api.health import Health, Live, Ready
from crossette.api.home import Version
from crossette.api.model_list import ModelEntry, ModelList
from crossette.api.model_load import LoadEvent, LoadRequest
from crossette.api.model_removal import ModelRemoved
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
from crossette.api.schema.files import FileDeleted, FileList, FileObject
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

ANSWERS = (
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
    FileObject,
    FileList,
    FileDeleted,
    BatchObject,
    BatchList,
    LoadEvent,
    ModelRemoved,
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
class Operation:
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
    Operation(
        "createCompletion",
        "/completions",
        "Create a completion of a prompt.",
        Completion,
        _GENERATING,
        CompletionRequest,
        Completion,
        {"prompt": "Once upon a time", "max_tokens": 16},
    ),
    Operation(
        "createChatCompletion",
        "/chat/completions",
        "Create a completion of a chat conversation.",
        ChatCompletion,
        _GENERATING,
        ChatRequest,
        ChatChunk,
        {"messages": [{"role": "user", "content": "Name the capital of France."}]},
    ),
    Operation(
        "createMessage",
        "/messages",
        "Create a message, in Anthropic's format.",
        AnswerMessage,
        _GENERATING,
        MessagesRequest,
        example={"max_tokens": 64, "messages": [{"role": "user", "content": "Name the capital of France."}]},
        events=(*get_args(Event), Ping, AnthropicError),
        wire=ANTHROPIC_ERRORS,
    ),
    Operation(
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
        example={"messages": [{"role": "user", "content": "Name the capital of France."}]},
        wire=ANTHROPIC_ERRORS,
    ),
    Operation(
        "createEmbedding",
        "/embeddings",
        "Create a vector of each text.",
        EmbeddingList,
        _EMBEDDING,
        EmbeddingRequest,
        example={"input": ["The cat sits.", "A kitten rests."]},
    ),
    Operation(
        "rerank",
        "/rerank",
        "Rank documents by their similarity to a query.",
        Ranking,
        _EMBEDDING,
        RerankRequest,
        example={"query": "Where is the cat?", "documents": ["Rates rose.", "The cat is on the mat."]},
    ),
    Operation(
        "createResponse",
        "/responses",
        "Create a response to a text, or to the items of a conversation.",
        Response,
        _GENERATING,
        ResponsesRequest,
        events=get_args(response_events.StreamEvent),
        example={"input": "Name the capital of France."},
    ),
    Operation(
        "listResponses",
        "/responses",
        "List the stored responses of the key, newest first.",
        ResponseList,
        (InvalidRequest, *_STORED),
        query=_PAGE,
    ),
    Operation(
        "countInputTokens",
        "/responses/input_tokens",
        "Count the tokens of the prompt that a response would have.",
        InputTokens,
        _GENERATING,
        ResponsesRequest,
        example={"input": "Name the capital of France."},
    ),
    Operation("retrieveResponse", "/responses/{response_id}", "Retrieve a stored response.", Response, _STORED),
    Operation(
        "deleteResponse",
        "/responses/{response_id}",
        "Delete a stored response.",
        ResponseDeleted,
        _STORED,
        is_deletion=True,
    ),
    Operation(
        "cancelResponse",
        "/responses/{response_id}/cancel",
        "Cancel a response that runs in the background.",
        Response,
        (InvalidRequest, *_STORED),
        is_command=True,
    ),
    Operation(
        "listInputItems",
        "/responses/{response_id}/input_items",
        "List the input items of a stored response.",
        InputItemList,
        (InvalidRequest, *_STORED),
        query={**_PAGE, "order": ("Oldest or newest first.", "^(asc|desc)$", "desc")},
    ),
    Operation("listModels", "/models", "List the models and their aliases.", ModelList),
    Operation("retrieveModel", "/models/{name}", "Retrieve a model.", ModelEntry, (ModelNotFound, *_ANYWHERE)),
    Operation(
        "pullModel",
        "/models/pull",
        "Download a model and serve it. Requires an admin key if the server has keys.",
        PullEvent,
        (InvalidRequest, UnknownField, Unsupported, Forbidden, Overloaded, PullFailed, *_BODY, *_ANYWHERE),
        PullRequest,
        PullEvent,
        {"model": "smollm2-135m-instruct"},
    ),
    Operation(
        "loadModel",
        "/models/{name}/load",
        "Load a model now. Requires an admin key if the server has keys.",
        ModelEntry,
        (InvalidRequest, UnknownField, Unsupported, ModelNotFound, ModelUnavailable, Forbidden, *_BODY, *_ANYWHERE),
        LoadRequest,
        LoadEvent,
        needs_body=False,
    ),
    Operation(
        "unloadModel",
        "/models/{name}/unload",
        "Unload a model that no request uses. Requires an admin key if the server has keys.",
        ModelEntry,
        (InvalidRequest, UnknownField, Unsupported, ModelNotFound, ModelInUse, Forbidden, *_BODY, *_ANYWHERE),
        LoadRequest,
        LoadEvent,
        needs_body=False,
    ),
    Operation(
        "removeModel",
        "/models/{name}",
        "Unload a model and delete its files. Requires an admin key if the server has keys.",
        ModelRemoved,
        (Unsupported, ModelNotFound, ModelInUse, Forbidden, PullFailed, *_ANYWHERE),
        is_deletion=True,
    ),
    Operation(
        "tokenize",
        "/tokenize",
        "Tokenize a text or a conversation.",
        Tokens,
        _OF_TOKENIZER,
        TokenizeRequest,
        example={"prompt": "Once upon a time"},
    ),
    Operation(
        "detokenize",
        "/detokenize",
        "Convert tokens to text.",
        Detokenized,
        _OF_TOKENIZER,
        DetokenizeRequest,
        example={"tokens": [9690, 198]},
    ),
    Operation(
        "applyTemplate",
        "/apply-template",
        "Render a conversation with the model's template.",
        AppliedTemplate,
        _OF_TOKENIZER,
        ApplyTemplateRequest,
        example={"messages": [{"role": "user", "content": "Name the capital of France."}]},
    ),
    Operation(
        "reportUsage",
        "/usage",
        "Report usage by key, model or day. Requires an admin key if the server has keys.",
        UsageReport,
        (InvalidRequest, Forbidden, Overloaded, *_ANYWHERE),
        query=_USAGE_QUERY,
    ),
)

_PAGE_OF_FILES = {
    "limit": ("How many objects the page has at most.", "^[1-9][0-9]{0,4}$", "20"),
    "after": ("The id of the last object of the page before.", "", "file-1"),
}
_OF_FILES = (Unsupported, Forbidden, Overloaded, *_ANYWHERE)
_NAMED = (NotFound, *_OF_FILES)

OF_FILES = (
    Operation(
        "uploadFile",
        "/files",
        "Upload a file of requests for a batch.",
        FileObject,
        (InvalidRequest, UnknownField, *_BODY, *_OF_FILES),
        is_upload=True,
    ),
    Operation(
        "listFiles",
        "/files",
        "List the files of the key.",
        FileList,
        (InvalidRequest, *_NAMED),
        query={
            **_PAGE_OF_FILES,
            "order": ("Oldest or newest first.", "^(asc|desc)$", "desc"),
            "purpose": ("List files with this purpose.", "", "batch"),
        },
    ),
    Operation("retrieveFile", "/files/{file_id}", "Retrieve a file.", FileObject, _NAMED),
    Operation("deleteFile", "/files/{file_id}", "Delete a file.", FileDeleted, (FileInUse, *_NAMED), is_deletion=True),
    Operation("downloadFile", "/files/{file_id}/content", "Download a file.", FileObject, _NAMED, is_download=True),
    Operation(
        "createBatch",
        "/batches",
        "Run the requests of a file behind live requests.",
        BatchObject,
        (InvalidRequest, UnknownField, ShuttingDown, *_BODY, *_OF_FILES),
        BatchRequest,
        example={"input_file_id": "file-1", "endpoint": "/v1/chat/completions", "completion_window": "24h"},
    ),
    Operation(
        "listBatches",
        "/batches",
        "List the batches of the key.",
        BatchList,
        (InvalidRequest, *_NAMED),
        query={**_PAGE_OF_FILES, "after": (_PAGE_OF_FILES["after"][0], "", "batch_1")},
    ),
    Operation("retrieveBatch", "/batches/{batch_id}", "Retrieve a batch.", BatchObject, _NAMED),
    Operation(
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
