"""Wire types of POST /chat/completions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar, Literal

import msgspec
from msgspec import UNSET, UnsetType

from crossette.api.schema import fields
from crossette.api.schema.answer import PerfMetrics, TokenDetail, UsageBody
from crossette.api.schema.common import GenerationFields, alias_conflict
from crossette.api.schema.logprobs import Logprobs
from crossette.api.schema.messages import Message
from crossette.api.schema.raw_output import RawOutput
from crossette.api.schema.reasoning import ReasoningSent, ThinkingSent
from crossette.api.schema.table import Refused, Table
from crossette.api.schema.tools import (
    Function,
    Named,
    ToolChoiceSent,
    ToolSent,
    check_names,
    choice_of,
    functions_of,
    tools_of,
)
from crossette.errors import InvalidRequest
from crossette.text.tool_calls.tools import Tool, ToolChoice


class ChatRequest(GenerationFields, kw_only=True, forbid_unknown_fields=True):
    table: ClassVar[Table] = Table({**fields.CHAT, **fields.BOTH})

    messages: list[Message]
    safe_tokenization: bool | None = None
    prompt_token_ids: list[int] | None = None
    prompt_truncate_len: int | None = None
    truncate_prompt_tokens: int | None = None
    chat_template_kwargs: dict[str, Any] | None = None  # Any: any JSON value
    tools: list[ToolSent] | None = None
    tool_choice: str | ToolChoiceSent | None = None
    parallel_tool_calls: bool | None = None
    functions: list[Function] | None = None
    function_call: str | Named | None = None
    reasoning_effort: bool | int | str | None = None
    thinking: ThinkingSent | bool | None = None
    reasoning: ReasoningSent | None = None
    enable_thinking: bool | None = None
    reasoning_history: Literal["disabled", "interleaved", "preserved"] | None = None
    include_reasoning: bool | None = None
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None
    # refused
    chat_template: Refused = None
    custom_chat_template: Refused = None
    # fields of completions
    prompt: Refused = None
    suffix: Refused = None
    best_of: Refused = None
    images: Refused = None

    @property
    def prompt_field(self) -> str:
        return "messages" if self.prompt_token_ids is None else "prompt_token_ids"

    @property
    def truncate_len(self) -> int:
        """The maximum number of prompt tokens; longer prompts are truncated. 0 for no maximum."""
        if self.prompt_truncate_len is not None and self.truncate_prompt_tokens is not None:
            raise alias_conflict("prompt_truncate_len", "truncate_prompt_tokens", of="limit")
        return self.prompt_truncate_len or self.truncate_prompt_tokens or 0

    @property
    def is_legacy(self) -> bool:
        """Whether the client uses the older `functions` instead of `tools`."""
        return bool(self.functions)

    def tools_and_choice(self) -> tuple[list[Tool], ToolChoice]:
        """The tools, which may be none, and which of them to call. Raises InvalidRequest, naming the invalid field."""
        for older, newer in (("functions", "tools"), ("function_call", "tool_choice")):
            if getattr(self, older) is not None and getattr(self, newer) is not None:
                raise alias_conflict(newer, older, of="thing")
        if self.functions:
            tools, param = functions_of(self.functions), "function_call"
            choice = replace(choice_of(self.function_call, param), parallel=False)
        else:
            tools, param = tools_of(self.tools or []), "tool_choice"
            choice = choice_of(self.tool_choice, param)
            if self.parallel_tool_calls is False:
                choice = replace(choice, parallel=False)
            if self.function_call not in (None, "auto", "none"):
                raise InvalidRequest("function_call needs functions.", param="function_call")
        check_names(choice, tools, param)
        return tools, choice

    @property
    def shows_reasoning(self) -> bool:
        """Whether reasoning is in the answer. Raises InvalidRequest if two fields contradict each other."""
        excluded = self.reasoning.exclude if self.reasoning is not None else None
        if self.include_reasoning is not None and self.include_reasoning is excluded:
            raise InvalidRequest(
                "include_reasoning and reasoning.exclude contradict each other: send one of them.",
                param="include_reasoning",
            )
        return self.include_reasoning is not False and not excluded


class CallBody(msgspec.Struct):
    """A function call, or in a stream a piece of its arguments."""

    arguments: str | UnsetType = UNSET
    name: str | UnsetType = UNSET


class ToolCallBody(msgspec.Struct):
    function: CallBody
    index: int | UnsetType = UNSET
    id: str | UnsetType | None = UNSET
    type: str | UnsetType = UNSET


class AssistantMessage(msgspec.Struct):
    role: str
    content: str | None
    reasoning_content: str | UnsetType = UNSET
    tool_calls: list[ToolCallBody] | UnsetType = UNSET
    function_call: CallBody | UnsetType = UNSET
    refusal: UnsetType | None = UNSET
    annotations: list[Any] | UnsetType = UNSET  # Any: it is always empty


class ChatChoice(msgspec.Struct):
    index: int
    message: AssistantMessage
    finish_reason: str | None
    logprobs: Logprobs | None = None
    token_ids: list[int] | UnsetType = UNSET
    token_details: list[TokenDetail] | UnsetType = UNSET
    raw_output: RawOutput | UnsetType = UNSET


class ChatCompletion(msgspec.Struct):
    id: str
    object: str
    created: int
    model: str
    choices: list[ChatChoice]
    usage: UsageBody
    system_fingerprint: str | UnsetType = UNSET
    service_tier: str | UnsetType = UNSET
    prompt_token_ids: list[int] | UnsetType = UNSET
    perf_metrics: PerfMetrics | UnsetType = UNSET


class DeltaBody(msgspec.Struct):
    role: str | UnsetType = UNSET
    content: str | UnsetType | None = UNSET
    reasoning_content: str | UnsetType = UNSET
    tool_calls: list[ToolCallBody] | UnsetType = UNSET
    function_call: CallBody | UnsetType = UNSET
    refusal: UnsetType | None = UNSET


class ChunkChoice(msgspec.Struct):
    index: int
    delta: DeltaBody
    finish_reason: str | None = None
    logprobs: Logprobs | None = None
    token_ids: list[int] | UnsetType = UNSET
    token_details: list[TokenDetail] | UnsetType = UNSET
    raw_output: RawOutput | UnsetType = UNSET


class ChatChunk(msgspec.Struct):
    id: str
    object: str
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: UsageBody | UnsetType | None = UNSET
    system_fingerprint: str | UnsetType = UNSET
    service_tier: str | UnsetType = UNSET
    prompt_token_ids: list[int] | UnsetType = UNSET
    perf_metrics: PerfMetrics | UnsetType = UNSET
