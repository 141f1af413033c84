"""Wire formats: the events of a stream, its end, and the body of an error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from crossette.api.dialect import Dialect
from crossette.errors import ServingError


class ErrorDetail(msgspec.Struct):
    message: str
    type: str
    param: str | None
    """The path of the invalid field, if any: `messages[2].content`."""
    code: str | None


class ErrorBody(msgspec.Struct):
    """The body of an error, with the keys that the SDKs of both dialects read."""

    error: ErrorDetail
    request_id: str


def error_body(error: ServingError, dialect: Dialect, request_id: str) -> ErrorBody:
    error_type, code = dialect.error_names(error.kind, error.code)
    return ErrorBody(ErrorDetail(error.message, error_type, error.param, code), request_id)


def frame(content: Any) -> bytes:
    """One event of a stream. The tag of a tagged struct is the event's name."""
    config = getattr(content, "__struct_config__", None)
    name = b"" if config is None or config.tag is None else b"event: " + config.tag.encode() + b"\n"
    return name + b"data: " + msgspec.json.encode(content) + b"\n\n"


COMMENT = b":\n\n"


@dataclass(frozen=True, slots=True)
class Wire:
    """One wire format: how a stream is kept open and ends, and what an error looks like."""

    error_body: Callable[[ServingError, Dialect, str], Any]
    """The body of an error, from the error, the dialect and the request id."""
    end: bytes = b""
    """Sent after the last event of a stream that succeeds."""
    keep_alive: bytes = COMMENT
    """Sent after a time without an event."""
    id_headers: tuple[str, ...] = ("x-request-id",)
    """The headers of an answer that have the request id."""
    error_event: Callable[[ServingError, Dialect, str], Any] | None = None
    """The event of a stream that fails before its first one; None for the body of an error."""


CHUNKS = Wire(error_body, end=b"data: [DONE]\n\n")
"""Chunks without names, and `[DONE]`: completions and chat completions."""
