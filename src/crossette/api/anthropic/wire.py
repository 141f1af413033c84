"""The wire format of Anthropic's API: its errors, and how its streams are kept open."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from crossette.api.dialect import Dialect
from crossette.api.wire import Wire, frame
from crossette.errors import ServingError

_TYPES: Mapping[int, str] = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    502: "api_error",
    503: "overloaded_error",
    504: "timeout_error",
}
"""The type of an error by its status; `invalid_request_error` for others."""
ERROR_TYPES = (*dict.fromkeys(("invalid_request_error", "billing_error", *_TYPES.values())),)


def error_type(kind: str, status: int) -> str:
    """The type of an error in Anthropic's API."""
    return "billing_error" if kind == "budget_spent" else _TYPES.get(status, "invalid_request_error")


class AnthropicErrorDetail(msgspec.Struct):
    type: str
    message: str
    """It names the invalid field, if any."""


class AnthropicError(msgspec.Struct, tag_field="type", tag="error"):
    """The body of an error, and the last event of a stream that failed."""

    error: AnthropicErrorDetail
    request_id: str


def anthropic_error(error: ServingError, dialect: Dialect, request_id: str) -> AnthropicError:
    return AnthropicError(AnthropicErrorDetail(error_type(error.kind, error.status), error.message), request_id)


class Ping(msgspec.Struct, tag_field="type", tag="ping"):
    """Sent after a time without an event."""


ANTHROPIC = Wire(anthropic_error, keep_alive=frame(Ping()), id_headers=("x-request-id", "request-id"))
