"""Error responses of upstreams as errors of this server."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from crossette.errors import (
    ContextLengthExceeded,
    InvalidRequest,
    Overloaded,
    RateLimited,
    RequestTooLarge,
    ServingError,
    UpstreamFailed,
    UpstreamTimeout,
)

MAX_BODY_BYTES = 64 * 2**10
"""How much of an error response is read."""
_MAX_MESSAGE = 300
_RETRY_S = 1.0
"""`retry-after` of an upstream that sends none."""
_MAX_RETRY_S = 86_400.0


def failure_of(status: int, headers: Mapping[str, str], body: bytes, *, name: str, key: str) -> ServingError:
    """The error for an upstream's response. `name` is the upstream in the log; `key` is removed from its message.

    What the request caused keeps its status and the upstream's message; what the operator must repair is a 502.
    """
    detail = _detail(body)
    message = _shortened(str(detail.get("message") or ""), key) or "no message"
    param = detail.get("param") if isinstance(detail.get("param"), str) else None
    match status:
        case 400 | 422 if detail.get("code") == "context_length_exceeded":
            return ContextLengthExceeded(message, param=param)
        case 400 | 422:
            return InvalidRequest(f"The upstream of this model rejected the request: {message}", param=param)
        case 413:
            return RequestTooLarge(f"The request is too large for the upstream of this model: {message}")
        case 429:
            wait_s = retry_after_s(headers)
            return RateLimited("The upstream of this model is rate limited. Retry later.", retry_after=wait_s)
        case 503:
            wait_s = retry_after_s(headers)
            return Overloaded("The upstream of this model is overloaded. Retry later.", retry_after=wait_s)
        case 408 | 504:
            return UpstreamTimeout("The upstream of this model took too long to answer.", hint=f"{name}: {status}")
        case 401 | 403:
            return UpstreamFailed(
                "The upstream of this model rejected this server. Report it to the administrator.",
                hint=f"{name} responded {status}: check the key in the variable that api_key_env names",
            )
        case 404:
            return UpstreamFailed(
                "The upstream of this model does not serve it. Report it to the administrator.",
                hint=f"{name} responded 404: check base_url and model. {message}",
            )
    return UpstreamFailed("The upstream of this model failed. Retry later.", hint=f"{name} responded {status}")


def retry_after_s(headers: Mapping[str, str]) -> float:
    """The upstream's `retry-after` in seconds, sent as a number or as a date."""
    text = headers.get("retry-after", "")
    try:
        seconds = float(text)
    except ValueError:
        seconds = _until(text)
    return min(max(seconds, _RETRY_S), _MAX_RETRY_S) if seconds == seconds else _RETRY_S


def _until(date: str) -> float:
    try:
        then = parsedate_to_datetime(date)
    except ValueError:
        return _RETRY_S
    return (then.replace(tzinfo=then.tzinfo or UTC) - datetime.now(UTC)).total_seconds()


def _detail(body: bytes) -> dict[str, Any]:
    """The error of a response: an object in most servers, a text in some."""
    try:
        decoded = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return {}
    error = decoded.get("error", decoded) if isinstance(decoded, dict) else {}
    return error if isinstance(error, dict) else {"message": error}


def _shortened(text: str, key: str) -> str:
    text = " ".join((text.replace(key, "[key]") if key else text).split())
    return text if len(text) <= _MAX_MESSAGE else f"{text[: _MAX_MESSAGE - 1]}…"
