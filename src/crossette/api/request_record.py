"""The record of a finished request, built from its exchange."""

from __future__ import annotations

import time

from crossette.api.exchange import Exchange
from crossette.errors import OutputMismatch
from crossette.observability.record import GenerationRecord, RequestRecord

MAX_CLIENT_TEXT = 200
"""Characters kept of each text that a client sends for the record."""


def record_of(exchange: Exchange, *, route: str, dialect: str, prefix: str) -> RequestRecord:
    """The record. `route` is the matched path pattern, under `prefix` of `dialect`; all are "" without a match."""
    body, error = exchange.body, exchange.error
    return RequestRecord(
        id=exchange.request_id,
        method=exchange.method,
        path=exchange.sent_path[:MAX_CLIENT_TEXT],
        route=route,
        endpoint=route.removeprefix(prefix).removeprefix("/"),
        dialect=dialect,
        status=exchange.status,
        begun_at=exchange.begun_at,
        seconds=time.perf_counter() - exchange.begun,
        key_id=exchange.caller.id,
        model_asked=(body.model or "")[:MAX_CLIENT_TEXT] if body is not None else "",
        error=error.kind if error is not None else "",
        hint=error.hint if error is not None else "",
        mismatch=str(error) if isinstance(error, OutputMismatch) else "",
        work=_work(exchange),
        recorded=_recorded(exchange),
        trace=exchange.trace,
        trace_id=exchange.trace_id,
    )


def _work(exchange: Exchange) -> GenerationRecord | None:
    """What an engine did for the request; None if no engine was called."""
    answer, body = exchange.answer, exchange.body
    if answer is None or body is None:
        return None
    timings = answer.timings
    return GenerationRecord(
        id=exchange.answer_id,
        model=exchange.model,
        streamed=bool(body.stream),
        num_choices=len(answer.choices),
        sampling=answer.sampling,
        usage=answer.usage,
        finish_reasons=tuple(exchange.finish_reasons),
        read_s=timings.begun - exchange.begun,
        queued_s=answer.queued_s,
        first_token_s=None if timings.first_token is None else timings.first_token - exchange.begun,
        ended_s=None if timings.ended is None else timings.ended - exchange.begun,
    )


def _recorded(exchange: Exchange) -> dict[str, object]:
    """The recorded fields of a request. They are cut if it was rejected before their sizes were checked."""
    body = exchange.body
    if body is None:
        return {}
    values = zip(body.table.recorded, body.table.recorded_values(body), strict=True)
    sent = {name: value for name, value in values if value is not None}
    if exchange.model:
        return sent
    return {name: value[:MAX_CLIENT_TEXT] for name, value in sent.items() if isinstance(value, str)}
