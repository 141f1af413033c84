"""The differences between the two APIs, as data. The base URL selects the dialect."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from crossette.errors import Code

ErrorNames = Mapping[str, tuple[str, str | None]]
"""Maps `ServingError.kind` to the `type` and `code` in the body of an error."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """One API, as its clients expect it."""

    name: str
    title: str
    """The name of the company whose API it is."""
    prefix: str
    """The base path: where its routes are mounted."""
    include_stop: bool
    """Whether the text includes the stop string that ended it."""
    overflow: Literal["truncate", "error"]
    """If prompt and max_tokens exceed the context window: lower max_tokens, or reject the request."""
    completion_max_tokens: int
    """The default max_tokens of /completions. Chat defaults to the rest of the context window."""
    messages_need_max_tokens: bool
    """Whether `max_tokens` is required in /messages."""
    usage_in_stream: Literal["on_request", "on_finish"]
    """`on_request`: only if stream_options requests it. `on_finish`: by default, on the chunk with finish_reason."""
    null_usage: bool
    """Whether chunks without usage have `"usage": null` when usage was not requested."""
    first_delta_has_content: bool
    """Whether a chat stream's first delta has `"content": ""` beside the role."""
    call_pieces_repeat_type: bool
    """Whether argument deltas of a tool call have a null id and a type, and its first delta has no empty arguments."""
    refusals: bool
    """Whether messages have `refusal`, always null here, and `annotations`, always empty."""
    fingerprints: bool
    """Whether answers have `system_fingerprint`."""
    max_top_logprobs: int
    """The maximum of top_logprobs; legacy logprobs have a maximum of 5 in both dialects."""
    detailed_logprobs: bool
    """Whether token records have sampling_logprob, token_id and text_offset."""
    metric_headers: Literal["openai", "fireworks"]
    """`openai`: one header with the processing time. `fireworks`: one for each count and time, and sampling options."""
    limit_headers: Literal["openai", "fireworks"]
    """`openai`: limits of requests and tokens. `fireworks`: of requests and each kind of token, and `over-limit`."""
    default_efforts: tuple[str, ...]
    """Values of `reasoning_effort` that mean the model's default."""
    unit_vectors: bool
    """Whether embeddings have length 1 by default, or as the model's files say."""
    ranking: Literal["results", "data"]
    """The list of a ranking: `results` as of Cohere and Jina, with documents as objects, or `data`, with texts."""
    model_details: bool
    """Whether entries of /models have kind, supports_chat, supports_tools and supports_image_input."""
    specific_codes: bool
    """Whether an error has OpenAI's code of its cause, such as `invalid_type`, where it has one."""
    errors: ErrorNames

    def error_names(self, kind: str, code: Code | None = None) -> tuple[str, str | None]:
        """The `type` and `code` of an error of this kind, with OpenAI's more specific `code` if it has one."""
        error_type, general = self.errors[kind]
        return error_type, code if code and self.specific_codes else general


_INVALID = "invalid_request_error"

OPENAI = Dialect(
    name="openai",
    title="OpenAI",
    prefix="/v1",
    include_stop=False,
    overflow="error",
    completion_max_tokens=16,
    messages_need_max_tokens=True,
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
    default_efforts=(),
    unit_vectors=True,
    ranking="results",
    model_details=False,
    specific_codes=True,
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
        "model_in_use": (_INVALID, "model_in_use"),
        "file_in_use": (_INVALID, "file_in_use"),
        "batch_ended": (_INVALID, "batch_ended"),
        "timeout": ("timeout_error", "request_timeout"),
        "too_large": (_INVALID, "request_too_large"),
        "unsupported_coding": (_INVALID, "unsupported_content_encoding"),
        "rate_limited": ("rate_limit_error", "rate_limit_exceeded"),
        "budget_spent": ("insufficient_quota", "insufficient_quota"),
        "pull_failed": ("server_error", "pull_failed"),
        "internal": ("server_error", "internal_error"),
        "constraint_failed": ("server_error", "constraint_failed"),
        "overloaded": ("server_error", "overloaded"),
        "model_loading": ("server_error", "model_loading"),
        "model_unavailable": ("server_error", "model_unavailable"),
        "upstream_failed": ("server_error", "upstream_failed"),
        "upstream_timeout": ("server_error", "upstream_timeout"),
    },
)

FIREWORKS = Dialect(
    name="fireworks",
    title="Fireworks",
    prefix="/inference/v1",
    include_stop=True,
    overflow="truncate",
    completion_max_tokens=2048,
    messages_need_max_tokens=False,
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
    default_efforts=("auto", "adaptive"),
    unit_vectors=False,
    ranking="data",
    model_details=True,
    specific_codes=False,
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
        "model_in_use": ("error", "MODEL_IN_USE"),
        "file_in_use": ("error", "FILE_IN_USE"),
        "batch_ended": ("error", "BATCH_ENDED"),
        "timeout": ("error", "REQUEST_TIMEOUT"),
        "too_large": ("error", "REQUEST_TOO_LARGE"),
        "unsupported_coding": ("error", "UNSUPPORTED_CONTENT_ENCODING"),
        "rate_limited": ("error", "RESOURCE_EXHAUSTED"),
        "budget_spent": ("error", "RESOURCE_EXHAUSTED"),
        "pull_failed": ("error", "PULL_FAILED"),
        "internal": ("error", "INTERNAL"),
        "constraint_failed": ("error", "CONSTRAINT_FAILED"),
        "overloaded": ("error", "UNAVAILABLE"),
        "model_loading": ("error", "MODEL_LOADING"),
        "model_unavailable": ("error", "MODEL_UNAVAILABLE"),
        "upstream_failed": ("error", "UPSTREAM_FAILED"),
        "upstream_timeout": ("error", "UPSTREAM_TIMEOUT"),
    },
)


def dialect_of(path: str, dialects: tuple[Dialect, ...]) -> Dialect:
    """The dialect of a path; the first one if the path belongs to none."""
    for dialect in dialects:
        if path == dialect.prefix or path.startswith(dialect.prefix + "/"):
            return dialect
    return dialects[0]
