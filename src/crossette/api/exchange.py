"""One request and its response: all that is known of it, from its first byte to its record."""

from __future__ import annotations

import re
import time
import uuid
from typing import TYPE_CHECKING, Any

from starlette.datastructures import Headers
from starlette.types import Scope

from crossette.accounts.access import ANONYMOUS, Caller
from crossette.api.content import Content
from crossette.api.trace_context import new_trace_id, sent_trace, trace_id_of
from crossette.errors import ServingError
from crossette.generation.answer import Answer

if TYPE_CHECKING:
    from crossette.api.guards.admission import Admission
    from crossette.api.schema.common import GenerationFields

_KEY = "crossette.exchange"
_CALLER_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


class Exchange:
    """Filled in as the request goes on; `Exchange.of(scope)` finds it. Each field says who sets it."""

    def __init__(self, scope: Scope) -> None:
        self.begun_at = time.time()
        self.begun = time.perf_counter()
        self.method: str = scope["method"]
        self.path: str = scope["path"].rstrip("/") or "/"
        self.headers = Headers(scope=scope)
        self.answer_id = _answer_id(self.path)
        """Stands in the body of an answer."""
        self.request_id = _caller_id(self.headers) or self.answer_id
        """Stands in `x-request-id`, in errors and in the log."""
        self.trace = sent_trace(self.headers)
        self.trace_id = trace_id_of(self.trace)
        self.content: Content | None = None
        """Set by the outermost middleware, where the ledger keeps it."""
        self.caller: Caller = ANONYMOUS
        """Set by authentication."""
        self.admission: Admission | None = None
        """Set by the endpoint, as is what follows."""
        self.body: GenerationFields | None = None
        self.model = ""
        """The name of the engine, once it is found and the body is checked."""
        self.answer: Answer | None = None
        self.finish_reasons: list[str] = []
        self.error: ServingError | None = None
        """What the client was told, by its status or within its stream."""
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
        """Whether the response's status is out, so that nothing else can be answered."""
        return self.status != 0

    def begin_trace(self) -> None:
        """Let the request begin a trace, unless its caller has named one."""
        self.trace_id = self.trace_id or new_trace_id()

    def saw(self, body: Any) -> None:  # Any: a chunk or a whole answer of any endpoint
        """Note which choices end with this chunk, or in this whole answer."""
        for choice in body.choices:
            if choice.finish_reason is not None:
                self.finish_reasons.append(choice.finish_reason)


def _answer_id(path: str) -> str:
    kind = "chatcmpl-" if path.endswith("/chat/completions") else "cmpl-" if path.endswith("/completions") else "req-"
    return kind + uuid.uuid4().hex


def _caller_id(headers: Headers) -> str | None:
    """The caller's own id for the request, if it is fit for a header and a log."""
    text = headers.get("x-request-id", "")
    return text if _CALLER_ID.fullmatch(text) else None
