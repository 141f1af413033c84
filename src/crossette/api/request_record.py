"""The record of a request that has ended, made of its exchange."""

from __future__ import annotations

import time

from crossette.api.exchange import Exchange
from crossette.errors import OutputMismatch
from crossette.observability.record import GenerationRecord, RequestRecord

MAX_WORD = 200
"""Characters kept of what clients say of themselves."""


def record_of(exchange: Exchange, *, route: str, dialect: str, prefix: str) -> RequestRecord:
    """`route` is the pattern that its path matched, below `prefix` of `dialect`; all "" where it matched none."""
    body, error = exchange.body, exchange.error
    return RequestRecord(
        id=exchange.request_id,
        method=exchange.method,
        path=exchange.path[:MAX_WORD],
        route=route,
        endpoint=route.removeprefix(prefix).removeprefix("/"),
        dialect=dialect,
        status=exchange.status,
        begun_at=exchange.begun_at,
        seconds=time.perf_counter() - exchange.begun,
        key_id=exchange.caller.id,
        model_asked=body.model[:MAX_WORD] if body is not None else "",
        error=error.kind if error is not None else "",
        mismatch=str(error) if isinstance(error, OutputMismatch) else "",
        work=_work(exchange),
        recorded=_recorded(exchange),
        trace=exchange.trace,
        trace_id=exchange.trace_id,
    )


def _work(exchange: Exchange) -> GenerationRecord | None:
    """What an engine did for it; None if none was asked."""
    answer, body = exchange.answer, exchange.body
    if answer is None or body is None:
        return None
    timings = answer.timings
    return GenerationRecord(
        id=exchange.answer_id,
        model=exchange.model,
        streamed=bool(body.stream),
        num_choices=len(answer.choices),
        sampling=answer.requests[0].sampling,
        usage=answer.usage,
        finish_reasons=tuple(exchange.finish_reasons),
        read_s=timings.begun - exchange.begun,
        queued_s=answer.queued_s,
        first_token_s=None if timings.first_token is None else timings.first_token - exchange.begun,
        ended_s=None if timings.ended is None else timings.ended - exchange.begun,
    )


def _recorded(exchange: Exchange) -> dict[str, object]:
    """What a request says of itself, as far as it does. Until its model is found, nobody has bounded what that is."""
    body = exchange.body
    if body is None:
        return {}
    told = {name: getattr(body, name) for name in body.table.recorded}
    if not exchange.model:
        told = {name: value[:MAX_WORD] for name, value in told.items() if isinstance(value, str)}
    return {name: value for name, value in told.items() if value is not None}
