"""The state of one request and its response, from the first byte to the record."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from starlette.datastructures import Headers
from starlette.types import Scope, Send

from crossette.accounts.access import ANONYMOUS, Caller
from crossette.api.content import Content
from crossette.api.paths import canonical_path
from crossette.api.trace_context import new_trace_id, sent_trace, trace_id_of
from crossette.errors import ServingError
from crossette.generation.answer import Timings
from crossette.types import SamplingParams, Usage

if TYPE_CHECKING:
    from crossette.api.guards.admission import Admission
    from crossette.api.schema.common import GenerationFields
    from crossette.api.schema.embeddings import EmbeddingRequest
    from crossette.api.schema.rerank import RerankRequest

_KEY = "crossette.exchange"
ANSWER_ID = "crossette.answer_id"
"""In the scope of a request that this server makes itself: the id of its answer."""
_ID_PREFIXES = {
    "/chat/completions": "chatcmpl-",
    "/completions": "cmpl-",
    "/responses": "resp_",
    "/messages": "msg_",
    "/rerank": "rerank-",
}
"""The start of an answer's id, by the end of its path: the first that matches."""
_CALLER_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


class Work(Protocol):
    """What an engine does for a request, as the record and the charge read it."""

    @property
    def timings(self) -> Timings: ...

    @property
    def choices(self) -> Sequence[object]: ...

    @property
    def sampling(self) -> SamplingParams | None: ...

    @property
    def queued_s(self) -> float | None: ...

    @property
    def usage(self) -> Usage: ...


class Exchange:
    """Filled in while the request is processed; `Exchange.of(scope)` returns it."""

    def __init__(self, scope: Scope) -> None:
        self.begun_at = time.time()
        self.begun = time.perf_counter()
        self.method: str = scope["method"]
        self.sent_path: str = scope["path"]
        """As sent, for the log. Everything else uses `path`."""
        self.path, self.path_model = canonical_path(self.sent_path)
        """The path without doubled parts, and the model that an older path names; "" for none."""
        self.headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(scope["headers"])}
        """By their names in lower case; of a repeated header, the first."""
        self.answer_id: str = scope.get(ANSWER_ID) or _answer_id(self.path)
        """The `id` in the body of an answer."""
        self.request_id = _caller_id(self.headers) or self.answer_id
        """Sent in `x-request-id` and in errors, and logged."""
        self.trace = sent_trace(Headers(scope=scope)) if "traceparent" in self.headers else {}
        self.trace_id = trace_id_of(self.trace) if self.trace else ""
        """The id of the caller's trace; "" for none."""
        self.content: Content | None = None
        """Set by the outermost middleware if the ledger keeps content."""
        self.caller: Caller = ANONYMOUS
        """Set by authentication."""
        self.batch_id = ""
        """The batch that the request belongs to; "" for a live one."""
        self.admission: Admission | None = None
        """Set by the endpoint, as are the fields below."""
        self.body: GenerationFields | EmbeddingRequest | RerankRequest | None = None
        self.model = ""
        """The name of the engine's model, once the body is validated and the model is found."""
        self.answer: Work | None = None
        self.finish_reasons: list[str] = []
        self.error: ServingError | None = None
        """The error sent to the client, as the response or within the stream."""
        self.notes: dict[str, str] = {}
        """Further headers of the response."""
        self.send_body: Send
        """Sends the parts of a body: they need not pass what extends headers. Set by the outermost middleware."""
        self.status = 0
        """0 until a response has started."""
        scope[_KEY] = self

    @classmethod
    def of(cls, scope: Scope) -> Exchange:
        """The exchange of a request that has passed the outermost middleware."""
        exchange: Exchange = scope[_KEY]
        return exchange

    @property
    def is_started(self) -> bool:
        """Whether the response's status was sent, so that no other response is possible."""
        return self.status != 0

    def begin_trace(self) -> None:
        """Start a new trace, unless the caller sent a trace id."""
        self.trace_id = self.trace_id or new_trace_id()

    def note_decoded(self, body: bytes) -> None:
        """Keep the body without its content coding, if the ledger keeps content."""
        if self.content is not None:
            self.content.replace_request(body)


def _answer_id(path: str) -> str:
    number = secrets.token_hex(16)
    for end, prefix in _ID_PREFIXES.items():
        if path.endswith(end):
            return prefix + number
    return f"req-{number}"


def _caller_id(headers: Mapping[str, str]) -> str | None:
    """The caller's `x-request-id`, if it is safe for a header and a log."""
    text = headers.get("x-request-id", "")
    return text if _CALLER_ID.fullmatch(text) else None
