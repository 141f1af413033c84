"""The access log: one line per finished request."""

from __future__ import annotations

import logging
from functools import partial

from crossette.log import FIELDS, escape_controls
from crossette.observability.record import GenerationRecord, RequestRecord

log = logging.getLogger(__name__)

_POLLED = {"/health", "/health/live", "/health/ready", "/ping", "/metrics"}
"""Polled routes: logged at level debug unless they fail."""


def note(record: RequestRecord) -> None:
    """Log a finished request. An `Observer`."""
    if record.mismatch:
        log.error("The output does not match the request: %s", record.mismatch)
    level = logging.DEBUG if record.route in _POLLED and record.status == 200 else logging.INFO
    if not log.isEnabledFor(level):
        return
    line = f"{record.method} {escape_controls(record.path)} {record.status} {record.seconds * 1000:.0f} ms"
    if record.key_id:
        line += f" {record.key_id}"
    if record.error:
        line += f" {record.error}" + (f" ({escape_controls(record.hint)})" if record.hint else "")
    if record.work is not None:
        line += _work(record.work)
    line += "".join(f" {name}={value!r}" for name, value in record.recorded.items())
    log.log(level, "%s", line, extra={FIELDS: partial(_fields, record)})


def _work(work: GenerationRecord) -> str:
    usage = work.usage
    cached = f" ({usage.cached_tokens} cached)" if usage.cached_tokens else ""
    first = work.time_to_first_token_s
    first_token = f", first after {first * 1000:.0f} ms" if first is not None else ""
    queued_ms = round((work.queued_s or 0) * 1000)
    queued = f", queued {queued_ms} ms" if queued_ms else ""
    reasons = f", {'+'.join(work.finish_reasons)}" if work.finish_reasons else ""
    return f" {work.model} {usage.prompt_tokens}{cached}+{usage.completion_tokens} tokens{queued}{first_token}{reasons}"


def _fields(record: RequestRecord) -> dict[str, object]:
    """The JSON fields of the line, with stable names and times in seconds."""
    fields: dict[str, object] = {
        "method": record.method,
        "path": record.path,
        "status": record.status,
        "duration_s": round(record.seconds, 6),
        "dialect": record.dialect,
        "endpoint": record.endpoint,
    }
    if record.key_id:
        fields["key_id"] = record.key_id
    if record.model_asked:
        fields["model_asked"] = record.model_asked
    if record.error:
        fields["error"] = record.error
    if record.hint:
        fields["hint"] = record.hint
    if record.work is not None:
        fields |= _work_fields(record.work)
    return fields | ({"recorded": record.recorded} if record.recorded else {})


def _work_fields(work: GenerationRecord) -> dict[str, object]:
    usage = work.usage
    times = {
        "queued_s": work.queued_s,
        "time_to_first_token_s": work.time_to_first_token_s,
        "time_per_token_s": work.time_per_token_s,
    }
    return {
        "answer_id": work.id,
        "model": work.model,
        "streamed": work.streamed,
        "choices": work.num_choices,
        "prompt_tokens": usage.prompt_tokens,
        "cached_tokens": usage.cached_tokens,
        "completion_tokens": usage.completion_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "finish_reasons": work.finish_reasons,
        **{name: round(value, 6) for name, value in times.items() if value is not None},
    }
