"""Wire types of a response: the object, its output items and its usage."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from crossette.api.dialect import Dialect
from crossette.api.schema.logprobs import TokenLogprob
from crossette.types import Usage

ItemStatus = Literal["in_progress", "completed", "incomplete"]
Status = Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]


class OutputText(msgspec.Struct, tag_field="type", tag="output_text"):
    text: str
    annotations: list[Any] = []  # Any: it is always empty
    logprobs: list[TokenLogprob] = []


class ReasoningPart(msgspec.Struct, tag_field="type", tag="reasoning_text"):
    text: str


class SummaryPart(msgspec.Struct, tag_field="type", tag="summary_text"):
    text: str


class MessageItem(msgspec.Struct, tag_field="type", tag="message"):
    id: str
    status: ItemStatus
    content: list[OutputText]
    role: Literal["assistant"] = "assistant"


class ReasoningItem(msgspec.Struct, tag_field="type", tag="reasoning"):
    id: str
    status: ItemStatus
    summary: list[SummaryPart]
    content: list[ReasoningPart] | UnsetType = UNSET
    encrypted_content: str | UnsetType | None = UNSET


class CallItem(msgspec.Struct, tag_field="type", tag="function_call"):
    id: str
    status: ItemStatus
    call_id: str
    name: str
    arguments: str


OutputItem = MessageItem | ReasoningItem | CallItem


class InputTokensDetails(msgspec.Struct):
    cached_tokens: int
    cache_write_tokens: int
    """The tokens that were computed, and stay in the cache as long as memory allows."""


class OutputTokensDetails(msgspec.Struct):
    reasoning_tokens: int
    retried_tokens: int | UnsetType = UNSET
    """Tokens of attempts whose text failed a check, if there were any."""


class ResponseUsage(msgspec.Struct):
    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    total_tokens: int
    prompt_tokens: int | UnsetType = UNSET
    """The same as `input_tokens`, in the Fireworks dialect only."""
    completion_tokens: int | UnsetType = UNSET


def response_usage(usage: Usage, dialect: Dialect, *, is_cached: bool) -> ResponseUsage:
    """`is_cached`: whether the prompt stays in the prefix cache of an engine."""
    written = usage.prompt_tokens - usage.cached_tokens if is_cached else 0
    has_both = dialect.metric_headers == "fireworks"
    return ResponseUsage(
        usage.prompt_tokens,
        InputTokensDetails(usage.cached_tokens, written),
        usage.completion_tokens,
        OutputTokensDetails(usage.reasoning_tokens, usage.retried_tokens or UNSET),
        usage.total_tokens,
        usage.prompt_tokens if has_both else UNSET,
        usage.completion_tokens if has_both else UNSET,
    )


class ResponseFailure(msgspec.Struct):
    code: str
    message: str


class IncompleteDetails(msgspec.Struct):
    reason: Literal["max_output_tokens", "max_tool_calls", "content_filter"]


class ReasoningUsed(msgspec.Struct):
    effort: bool | int | str | None
    summary: str | None


class Response(msgspec.Struct, kw_only=True):
    """A response. Fields that a request may have are repeated, as they were applied."""

    id: str
    object: Literal["response"] = "response"
    created_at: int
    status: Status
    completed_at: int | None = None
    error: ResponseFailure | None = None
    incomplete_details: IncompleteDetails | None = None
    model: str
    output: list[OutputItem]
    usage: ResponseUsage | None = None
    instructions: str | None
    previous_response_id: str | None = None
    store: bool = False
    background: bool = False
    max_output_tokens: int | None
    max_tool_calls: int | None
    parallel_tool_calls: bool
    reasoning: ReasoningUsed
    text: dict[str, Any]  # Any: a schema is any JSON
    tool_choice: str | dict[str, Any]
    tools: list[dict[str, Any]]
    temperature: float
    top_p: float
    top_logprobs: int
    presence_penalty: float
    frequency_penalty: float
    truncation: Literal["auto", "disabled"]
    service_tier: str
    metadata: dict[str, str]
    user: str | None
    safety_identifier: str | None
    prompt_cache_key: str | None
