"""The trace of a request: the caller's, by W3C Trace Context, or a new one."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping

from starlette.datastructures import Headers

_HEADERS = ("traceparent", "tracestate")
_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?")


def sent_trace(headers: Headers) -> dict[str, str]:
    """`traceparent` and `tracestate` if sent; empty without a valid `traceparent`.

    Repeated headers are joined to one list, as HTTP requires, so two `traceparent` headers are invalid.
    """
    trace = {name: ",".join(headers.getlist(name)) for name in _HEADERS if name in headers}
    return trace if trace_id_of(trace) else {}


def trace_id_of(trace: Mapping[str, str]) -> str:
    """The trace id in `traceparent`, as 32 hex digits; "" if the header is missing or invalid by the standard."""
    match = _PARENT.fullmatch(trace.get("traceparent", "").strip(" \t"))
    if match is None:
        return ""
    version, trace_id, parent_id, more = match.groups()
    is_known = version != "ff" and not (version == "00" and more)
    return trace_id if is_known and int(trace_id, 16) and int(parent_id, 16) else ""


def new_trace_id() -> str:
    """A unique trace id: 128 random bits, as 32 hex digits."""
    return secrets.token_hex(16)
