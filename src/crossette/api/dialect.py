"""Every place where the two APIs differ, as data. Which one speaks is the base URL's choice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

ErrorNames = Mapping[str, tuple[str, str | None]]
"""Our word for a cause (`ServingError.kind`) to the `type` and `code` of an error's body."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """One API, as its clients expect it."""

    name: str
    prefixes: tuple[str, ...]
    """Where its routes are mounted."""
    include_stop: bool
    """Whether text ends after the stop string, or before it."""
    overflow: Literal["truncate", "error"]
    """What happens when prompt and max_tokens exceed the window: lower max_tokens, or refuse."""
    completion_max_tokens: int
    """max_tokens of /completions where the request gives none. In chat it is the room left in the window."""
    usage_in_stream: Literal["on_request", "on_finish"]
    """Usage only where stream_options asks for it, or else on the chunk that carries finish_reason."""
    null_usage: bool
    """Whether chunks without usage say `"usage": null` where usage was not asked for."""
    first_delta_has_content: bool
    """Whether a chat stream's first delta has `"content": ""` beside the role."""
    call_pieces_repeat_type: bool
    """Whether pieces of a call's arguments have a null id and a type, and its head no empty arguments."""
    refusals: bool
    """Whether messages have `refusal`, always null here, and `annotations`, always empty."""
    fingerprints: bool
    """Whether answers have `system_fingerprint`."""
    max_top_logprobs: int
    """The largest top_logprobs; legacy logprobs go up to 5 in both."""
    detailed_logprobs: bool
    """Whether token records have sampling_logprob, token_id and text_offset."""
    metric_headers: Literal["openai", "fireworks"]
    """One header with the time it took, or counts, times and sampling options in one each."""
    limit_headers: Literal["openai", "fireworks"]
    """What is left of a key's limits: requests and tokens, or each kind of token, and whether it is over a limit."""
    errors: ErrorNames


_INVALID = "invalid_request_error"

OPENAI = Dialect(
    name="openai",
    prefixes=("/v1",),
    include_stop=False,
    overflow="error",
    completion_max_tokens=16,
    usage_in_stream="on_request",
    null_usage=False,
    first_delta_has_content=True,
    call_pieces_repeat_type=False,
    refusals=True,
    fingerprints=True,
    max_top_logprobs=20,
    detailed_logprobs=False,
    metric_headers="openai",
    limit_headers="openai",
    errors={
        "invalid_request": (_INVALID, None),
        "unknown_field": (_INVALID, "unknown_parameter"),
        "unsupported": (_INVALID, "unsupported_parameter"),
        "context_length": (_INVALID, "context_length_exceeded"),
        "invalid_key": (_INVALID, "invalid_api_key"),
        "forbidden": (_INVALID, "forbidden"),
        "not_found": (_INVALID, "not_found"),
        "model_not_found": (_INVALID, "model_not_found"),
        "no_chat_template": (_INVALID, None),
        "method_not_allowed": (_INVALID, "method_not_allowed"),
        "timeout": ("timeout_error", "request_timeout"),
        "too_large": (_INVALID, "request_too_large"),
        "rate_limited": ("rate_limit_error", "rate_limit_exceeded"),
        "budget_spent": ("insufficient_quota", "insufficient_quota"),
        "internal": ("server_error", "internal_error"),
        "constraint_failed": ("server_error", "constraint_failed"),
        "overloaded": ("server_error", "overloaded"),
    },
)

FIREWORKS = Dialect(
    name="fireworks",
    # Twice: the fireworks SDK adds /v1 to a base URL that may end in it already.
    prefixes=("/inference/v1", "/inference/v1/v1"),
    include_stop=True,
    overflow="truncate",
    completion_max_tokens=2048,
    usage_in_stream="on_finish",
    null_usage=True,
    first_delta_has_content=False,
    call_pieces_repeat_type=True,
    refusals=False,
    fingerprints=False,
    max_top_logprobs=5,
    detailed_logprobs=True,
    metric_headers="fireworks",
    limit_headers="fireworks",
    errors={
        "invalid_request": ("error", "INVALID_ARGUMENT"),
        "unknown_field": ("error", "INVALID_ARGUMENT"),
        "unsupported": ("error", "INVALID_ARGUMENT"),
        "context_length": ("error", "INVALID_ARGUMENT"),
        "invalid_key": ("error", "UNAUTHORIZED"),
        "forbidden": ("error", "FORBIDDEN"),
        "not_found": ("error", "NOT_FOUND"),
        "model_not_found": ("error", "NOT_FOUND"),
        "no_chat_template": ("error", "NOT_FOUND"),
        "method_not_allowed": ("error", "METHOD_NOT_ALLOWED"),
        "timeout": ("error", "REQUEST_TIMEOUT"),
        "too_large": ("error", "REQUEST_TOO_LARGE"),
        "rate_limited": ("error", "RESOURCE_EXHAUSTED"),
        "budget_spent": ("error", "RESOURCE_EXHAUSTED"),
        "internal": ("error", "INTERNAL"),
        "constraint_failed": ("error", "CONSTRAINT_FAILED"),
        "overloaded": ("error", "UNAVAILABLE"),
    },
)


def dialect_of(path: str, dialects: tuple[Dialect, ...]) -> Dialect:
    """Whose path it is; the first dialect's where it is nobody's."""
    for dialect in dialects:
        if any(path == prefix or path.startswith(prefix + "/") for prefix in dialect.prefixes):
            return dialect
    return dialects[0]
