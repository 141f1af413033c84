"""What is seen of a request on its way, and its record at the end."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from starlette.types import Scope

from crossette.access import ANONYMOUS
from crossette.api.account import MAX_WORD
from crossette.api.trace_context import new_trace_id, sent_trace, trace_id_of
from crossette.errors import ServingError
from crossette.generation import Answer
from crossette.record import RequestRecord, Work

_KEY = "crossette.watch"


class Watch:
    """Begins with the request. The end of a choice and an error are noted where they are told to the client."""

    def __init__(self, scope: Scope) -> None:
        self.error: ServingError | None = None
        self._begun_at = time.time()
        self._begun = time.perf_counter()
        self._reasons: list[str] = []
        self._scope = scope
        self._trace = sent_trace(scope)
        self.trace_id = trace_id_of(self._trace)
        scope[_KEY] = self

    def begin_trace(self) -> None:
        """Let the request begin a trace, unless its caller has named one."""
        self.trace_id = self.trace_id or new_trace_id()

    def saw(self, body: Any) -> None:  # Any: a chunk or a whole answer of any endpoint
        """Note which choices end with this chunk, or in this whole answer."""
        for choice in body.choices:
            if choice.finish_reason is not None:
                self._reasons.append(choice.finish_reason)

    def record(self, request_id: str, path: str, route: str, dialect: str, prefix: str, status: int) -> RequestRecord:
        state: Mapping[str, Any] = self._scope.get("state", {})
        body = state.get("body")
        return RequestRecord(
            id=request_id,
            method=self._scope["method"],
            path=path[:MAX_WORD],
            route=route,
            endpoint=route.removeprefix(prefix).removeprefix("/"),
            dialect=dialect,
            status=status,
            begun_at=self._begun_at,
            seconds=time.perf_counter() - self._begun,
            key_id=state.get("caller", ANONYMOUS).id,
            model_asked=body.model[:MAX_WORD] if body is not None else "",
            error=self.error.kind if self.error is not None else "",
            work=self._work(state) if "answer" in state else None,
            recorded=_recorded(body, is_checked="model" in state) if body is not None else {},
            trace=self._trace,
            trace_id=self.trace_id,
        )

    def _work(self, state: Mapping[str, Any]) -> Work:
        answer: Answer = state["answer"]
        timings = answer.timings
        return Work(
            id=state["answer_id"],
            model=state["model"],
            streamed=bool(state["body"].stream),
            num_choices=len(answer.choices),
            sampling=answer.requests[0].sampling,
            usage=answer.usage,
            finish_reasons=tuple(self._reasons),
            read_s=timings.begun - self._begun,
            queued_s=answer.queued_s,
            first_token_s=None if timings.first_token is None else timings.first_token - self._begun,
            ended_s=None if timings.ended is None else timings.ended - self._begun,
        )


def watch_of(scope: Scope) -> Watch:
    """Who watches this request."""
    watch: Watch = scope[_KEY]
    return watch


def _recorded(body: Any, *, is_checked: bool) -> dict[str, object]:  # Any: the body of any endpoint
    """What a request says of itself, as far as it does. `is_checked`: within the bounds of what is kept of it."""
    told = {name: getattr(body, name) for name, entry in body.table.items() if entry.state == "recorded"}
    if not is_checked:
        told = {name: value[:MAX_WORD] for name, value in told.items() if isinstance(value, str)}
    return {name: value for name, value in told.items() if value is not None}
