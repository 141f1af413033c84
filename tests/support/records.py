"""Request records for tests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from crossette.observability.record import GenerationRecord, RequestRecord
from crossette.types import SamplingParams, Usage

WORK = GenerationRecord(
    id="chatcmpl-1",
    model="fake",
    streamed=True,
    num_choices=1,
    sampling=SamplingParams(16),
    usage=Usage(20, 11, cached_tokens=8, reasoning_tokens=3),
    finish_reasons=("stop",),
    read_s=0.25,
    queued_s=0.125,
    first_token_s=0.75,
    ended_s=1.75,
)

_RECORD = RequestRecord(
    id="req-1",
    method="POST",
    path="/v1/chat/completions",
    route="/v1/chat/completions",
    endpoint="chat/completions",
    dialect="openai",
    status=200,
    begun_at=1_700_000_000.0,
    seconds=2.0,
    key_id="key-a",
    model_asked="fake",
    work=WORK,
)


def make_record(**fields: Any) -> RequestRecord:  # Any: fields of RequestRecord
    """The record of a successful streamed chat request, with the given fields replaced."""
    return replace(_RECORD, **fields)
