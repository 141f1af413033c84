"""Wire types of the answer to POST /messages, and of the events of its stream."""

from __future__ import annotations

import msgspec
from msgspec import UNSET, UnsetType

from crossette.api.schema.raw_output import RawOutput
from crossette.types import Usage


class TextBlock(msgspec.Struct, tag_field="type", tag="text"):
    text: str
    citations: None = None


class ThinkingBlock(msgspec.Struct, tag_field="type", tag="thinking"):
    thinking: str
    signature: str
    """A digest of the reasoning. It is not verified when the block is sent back."""


class ToolUseBlock(msgspec.Struct, tag_field="type", tag="tool_use"):
    id: str
    name: str
    input: msgspec.Raw
    """An object; of a call that was cut off, the values that are complete."""


AnswerBlock = TextBlock | ThinkingBlock | ToolUseBlock


class MessageUsage(msgspec.Struct):
    """Token counts. The tokens of the prompt are the sum of the first three."""

    input_tokens: int
    cache_read_input_tokens: int
    cache_creation_input_tokens: int
    output_tokens: int
    service_tier: str | UnsetType = UNSET


def message_usage(usage: Usage, service_tier: str | UnsetType = UNSET) -> MessageUsage:
    return MessageUsage(
        usage.prompt_tokens - usage.cached_tokens, usage.cached_tokens, 0, usage.completion_tokens, service_tier
    )


class AnswerMessage(msgspec.Struct, tag_field="type", tag="message"):
    id: str
    model: str
    """As in the request."""
    content: list[AnswerBlock]
    stop_reason: str | None
    stop_sequence: str | None
    usage: MessageUsage
    role: str = "assistant"
    raw_output: RawOutput | UnsetType = UNSET


class TokenCount(msgspec.Struct):
    input_tokens: int


# --- events ---


class MessageStart(msgspec.Struct, tag_field="type", tag="message_start"):
    message: AnswerMessage


class BlockStart(msgspec.Struct, tag_field="type", tag="content_block_start"):
    index: int
    content_block: AnswerBlock


class TextDelta(msgspec.Struct, tag_field="type", tag="text_delta"):
    text: str


class ThinkingDelta(msgspec.Struct, tag_field="type", tag="thinking_delta"):
    thinking: str


class SignatureDelta(msgspec.Struct, tag_field="type", tag="signature_delta"):
    signature: str


class InputDelta(msgspec.Struct, tag_field="type", tag="input_json_delta"):
    partial_json: str


class BlockDelta(msgspec.Struct, tag_field="type", tag="content_block_delta"):
    index: int
    delta: TextDelta | ThinkingDelta | SignatureDelta | InputDelta


class BlockStop(msgspec.Struct, tag_field="type", tag="content_block_stop"):
    index: int


class StopDetail(msgspec.Struct):
    stop_reason: str
    stop_sequence: str | None


class MessageDelta(msgspec.Struct, tag_field="type", tag="message_delta"):
    delta: StopDetail
    usage: MessageUsage
    raw_output: RawOutput | UnsetType = UNSET


class MessageStop(msgspec.Struct, tag_field="type", tag="message_stop"):
    pass


Event = MessageStart | BlockStart | BlockDelta | BlockStop | MessageDelta | MessageStop
