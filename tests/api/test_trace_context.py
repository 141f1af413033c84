"""Validity of `traceparent`, by W3C Trace Context and as OpenTelemetry, which creates the spans, parses it."""

from __future__ import annotations

import pytest
from opentelemetry.trace import format_trace_id, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.datastructures import Headers

from crossette.api.trace_context import sent_trace, trace_id_of

TRACE_ID, PARENT_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE_ID}-{PARENT_ID}-01"

VALID = [PARENT, f" {PARENT}\t", PARENT[:-2] + "00", PARENT[:-2] + "ff", f"cc{PARENT[2:]}", f"cc{PARENT[2:]}-more"]
INVALID = [
    "",
    "nonsense",
    PARENT.upper(),
    PARENT[:-1],
    PARENT + "0",
    PARENT + "-more",
    f"ff{PARENT[2:]}",
    f"00-{'0' * 32}-{PARENT_ID}-01",
    f"00-{TRACE_ID}-{'0' * 16}-01",
    f"{PARENT},{PARENT}",
    f"00-{'é' * 32}-{PARENT_ID}-01",
]


def theirs(parent: str) -> str:
    """The trace id that OpenTelemetry parses."""
    context = get_current_span(TraceContextTextMapPropagator().extract({"traceparent": parent})).get_span_context()
    return format_trace_id(context.trace_id) if context.is_valid else ""


@pytest.mark.parametrize("parent", VALID)
def test_a_valid_traceparent_has_a_trace_id(parent: str) -> None:
    assert trace_id_of({"traceparent": parent}) == theirs(parent) == TRACE_ID


@pytest.mark.parametrize("parent", INVALID)
def test_an_invalid_traceparent_has_no_trace_id(parent: str) -> None:
    assert trace_id_of({"traceparent": parent}) == theirs(parent) == ""


def sent(*headers: tuple[str, str]) -> dict[str, str]:
    return sent_trace(Headers(raw=[(name.encode(), value.encode()) for name, value in headers]))


def test_two_tracestate_headers_are_joined() -> None:
    headers = ("traceparent", PARENT), ("tracestate", "a=1"), ("tracestate", "b=2"), ("accept", "*/*")

    assert sent(*headers) == {"traceparent": PARENT, "tracestate": "a=1,b=2"}


def test_tracestate_without_a_valid_traceparent_is_ignored() -> None:
    assert sent(("tracestate", "a=1")) == sent(("traceparent", "nonsense"), ("tracestate", "a=1")) == {}


def test_two_traceparent_headers_are_invalid() -> None:
    assert sent(("traceparent", PARENT), ("traceparent", PARENT)) == {}
