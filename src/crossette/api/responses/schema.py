"""Wire types of POST /responses: the request and the objects in it."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import msgspec

from crossette.api.responses import fields
from crossette.api.schema.messages import Part
from crossette.api.schema.response_format import SchemaSent, StructuredOutputs
from crossette.api.schema.table import Refused, Table, Unused
from crossette.api.schema.tools import ToolChoiceSent


class Item(msgspec.Struct, kw_only=True):
    """An item of the input. It is the client's own record: keys that are unknown here are dropped."""

    table: ClassVar[Table] = fields.ITEM

    type: str | None = None
    role: str | None = None
    content: str | list[Part] | None = None
    name: str | None = None
    arguments: str | None = None
    call_id: str | None = None
    output: str | list[Part] | None = None
    summary: list[Part] | None = None
    encrypted_content: str | None = None
    id: str | None = None
    status: Unused = None


class FunctionTool(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    table: ClassVar[Table] = fields.TOOL

    type: Literal["function"]
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None  # Any: a schema is any JSON until it is validated
    strict: bool | None = None
    # refused
    allowed_callers: Refused = None
    defer_loading: Refused = None
    output_schema: Refused = None
    # without effect
    cache_control: Unused = None


class ReasoningOptions(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    table: ClassVar[Table] = fields.REASONING

    effort: bool | int | str | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None
    generate_summary: Literal["auto", "concise", "detailed"] | None = None
    # refused
    context: Refused = None
    mode: Refused = None


class Format(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    table: ClassVar[Table] = fields.FORMAT

    type: Literal["text", "json_object", "json_schema", "grammar"]
    name: str | None = None
    description: str | None = None
    schema: dict[str, Any] | bool | None = None  # Any: a schema is any JSON until it is validated
    strict: bool | None = None
    grammar: str | None = None


class TextOptions(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    table: ClassVar[Table] = fields.TEXT

    format: Format | None = None
    # refused
    verbosity: Refused = None


class ResponseStreamOptions(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    table: ClassVar[Table] = fields.STREAM_OPTIONS

    # refused
    include_obfuscation: Refused = None


class ResponsesRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    table: ClassVar[Table] = fields.RESPONSES

    model: str
    input: str | list[Item]
    instructions: str | None = None
    max_output_tokens: int | None = None
    max_tool_calls: int | None = None
    parallel_tool_calls: bool | None = None
    reasoning: ReasoningOptions | None = None
    text: TextOptions | None = None
    tools: list[dict[str, Any]] | None = None  # Any: a tool of any kind; functions are decoded as `FunctionTool`
    tool_choice: str | ToolChoiceSent | None = None
    truncation: Literal["auto", "disabled"] | None = None
    include: list[str] | None = None
    top_logprobs: int | None = None
    store: bool | None = None
    previous_response_id: str | None = None
    background: bool | None = None
    stream: bool | None = None
    stream_options: ResponseStreamOptions | None = None
    # as in a chat
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    typical_p: float | None = None
    mirostat_target: float | None = None
    mirostat_lr: float | None = None
    repetition_penalty: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    min_tokens: int | None = None
    ignore_eos: bool | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    stop_token_ids: list[int] | None = None
    include_stop_str_in_output: bool | None = None
    context_length_exceeded_behavior: Literal["truncate", "error"] | None = None
    guided_json: SchemaSent | None = None
    guided_regex: str | None = None
    guided_choice: list[str] | None = None
    guided_grammar: str | None = None
    structured_outputs: StructuredOutputs | None = None
    safe_tokenization: bool | None = None
    chat_template_kwargs: dict[str, Any] | None = None  # Any: any JSON value
    enable_thinking: bool | None = None
    reasoning_history: Literal["disabled", "interleaved", "preserved"] | None = None
    include_reasoning: bool | None = None
    prompt_cache_isolation_key: str | None = None
    prompt_cache_key: str | None = None
    cache_prompt: bool | None = None
    prompt_cache_options: dict[str, Any] | None = None  # Any: any JSON value
    prompt_cache_retention: str | None = None
    prompt_cache_breakpoint: dict[str, Any] | None = None  # Any: any JSON value
    cache_control: dict[str, Any] | None = None  # Any: any JSON value
    service_tier: Literal["auto", "default", "flex", "priority", "fast", "scale"] | None = None
    priority: int | None = None
    user: str | None = None
    safety_identifier: str | None = None
    metadata: dict[str, str] | None = None
    # without effect
    client_metadata: Unused = None
    # refused
    background_options: Refused = None
    conversation: Refused = None
    context_management: Refused = None
    prompt: Refused = None
    moderation: Refused = None
    image: Refused = None
    access_programs: Refused = None
    # fields of a chat
    n: Refused = None
    functions: Refused = None
    function_call: Refused = None
    verbosity: Refused = None
