"""Wire types of POST /messages and POST /messages/count_tokens."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

import msgspec

from crossette.api.anthropic import fields
from crossette.api.anthropic.blocks import Block, SystemText
from crossette.api.anthropic.tools import CustomTool, ToolUseChoice
from crossette.api.dialect import Dialect
from crossette.api.schema.table import Refused, Table, check_limits, refuse_unsupported
from crossette.errors import InvalidRequest, Unsupported, missing
from crossette.types import within

_CLEAR_THINKING = "clear_thinking_20251015"


class Turn(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A message of the conversation."""

    table: ClassVar[Table] = fields.TURN

    role: Literal["user", "assistant", "system"]
    content: str | list[Block]

    @property
    def blocks(self) -> list[Block]:
        return self.content if isinstance(self.content, list) else [Block(type="text", text=self.content)]


class ThinkingConfig(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    table: ClassVar[Table] = fields.THINKING

    type: Literal["enabled", "disabled", "adaptive"]
    budget_tokens: int | None = None
    display: Literal["summarized", "omitted"] | None = None

    def check(self) -> None:
        if self.type == "enabled" and self.budget_tokens is None:
            raise missing("thinking.budget_tokens")
        for name in ("budget_tokens", "display") if self.type == "disabled" else ("budget_tokens",):
            if self.type != "enabled" and getattr(self, name) is not None:
                raise InvalidRequest(f"'thinking.{name}' is not for thinking of type '{self.type}'.", param="thinking")
        if self.budget_tokens is not None:
            within("thinking.budget_tokens", self.budget_tokens, (fields.MIN_BUDGET, math.inf))


class OutputSchema(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    table: ClassVar[Table] = fields.OUTPUT_SCHEMA

    type: Literal["json_schema"]
    schema: dict[str, Any]  # Any: a schema is any JSON until it is validated


class OutputConfig(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    table: ClassVar[Table] = fields.OUTPUT_CONFIG

    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: OutputSchema | None = None


class Keep(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    table: ClassVar[Table] = fields.KEEP

    type: Literal["thinking_turns", "all"]
    value: int | None = None


class ContextEdit(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    table: ClassVar[Table] = fields.EDIT

    type: str
    keep: Literal["all"] | Keep | None = None

    def num_kept(self, path: str) -> int | None:
        """How many of the last messages with reasoning keep it; None for all. `path` is its position in errors."""
        if self.type != _CLEAR_THINKING:
            raise Unsupported(
                f"'{path}type' is {self.type[:64]!r}: only '{_CLEAR_THINKING}' is supported. Remove other content "
                "before you send it.",
                param=f"{path}type",
            )
        if self.keep is None:
            return 1
        if self.keep == "all" or self.keep.type == "all":
            return None
        if self.keep.value is None:
            raise missing(f"{path}keep.value")
        within(f"{path}keep.value", self.keep.value, (1, math.inf))
        return self.keep.value


class ContextManagement(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    table: ClassVar[Table] = fields.CONTEXT_MANAGEMENT

    edits: list[ContextEdit] | None = None

    def num_kept(self) -> int | None:
        """How many of the last messages with reasoning keep it; None for all."""
        edits = [edit.num_kept(f"context_management.edits[{index}].") for index, edit in enumerate(self.edits or ())]
        within("the length of context_management.edits", len(edits), (0, fields.MAX_EDITS), param="context_management")
        return min((kept for kept in edits if kept is not None), default=None)


class RequestMetadata(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    table: ClassVar[Table] = fields.METADATA

    user_id: str | None = None


class CountTokensRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The fields that make a prompt."""

    table: ClassVar[Table] = fields.COUNT_TOKENS

    model: str
    messages: list[Turn]
    system: str | list[SystemText] | None = None
    thinking: ThinkingConfig | None = None
    output_config: OutputConfig | None = None
    tools: list[CustomTool] | None = None
    tool_choice: ToolUseChoice | None = None
    context_management: ContextManagement | None = None
    cache_control: dict[str, Any] | None = None  # Any: any JSON value
    # refused
    mcp_servers: Refused = None
    speed: Refused = None
    user_profile_id: Refused = None
    workspace_id: Refused = None

    @property
    def is_prefilled(self) -> bool:
        """Whether the answer continues the last message."""
        return bool(self.messages) and self.messages[-1].role == "assistant"

    def check(self, dialect: Dialect) -> None:
        """Reject unsupported fields, values beyond their limits, and fields that exclude one another."""
        refuse_unsupported(self, self.table)
        check_limits(self, self.table, dialect)
        if self.thinking is None:
            return
        self.thinking.check()
        if self.thinking.type != "enabled":
            return
        if self.tool_choice is not None and self.tool_choice.type in ("any", "tool"):
            raise InvalidRequest(
                f"Thinking may not be enabled when tool_choice forces tool use: tool_choice.type is "
                f"'{self.tool_choice.type}'. Send 'auto', or thinking of type 'disabled'.",
                param="thinking",
            )
        if self.is_prefilled:
            raise InvalidRequest(
                "Thinking may not be enabled when the last message is the assistant's: an answer that continues it "
                "cannot begin with thinking. Send thinking of type 'disabled'.",
                param="thinking",
            )


class MessagesRequest(CountTokensRequest, kw_only=True, forbid_unknown_fields=True):
    table: ClassVar[Table] = fields.MESSAGES

    max_tokens: int | None = None
    stop_sequences: list[str] | None = None
    stream: bool | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    metadata: RequestMetadata | None = None
    service_tier: Literal["auto", "standard_only"] | None = None
    raw_output: bool | None = None
    # refused
    container: Refused = None
    inference_geo: Refused = None
    diagnostics: Refused = None
    output_format: Refused = None

    @property
    def omits_thinking(self) -> bool:
        return self.thinking is not None and self.thinking.display == "omitted"

    @property
    def user_id(self) -> str | None:
        return self.metadata.user_id if self.metadata is not None else None

    def check(self, dialect: Dialect) -> None:
        if self.max_tokens is None and dialect.messages_need_max_tokens:
            raise missing("max_tokens")
        super().check(dialect)
        if self.user_id is not None and len(self.user_id) > fields.MAX_USER_ID:
            raise InvalidRequest(
                f"metadata.user_id may have up to {fields.MAX_USER_ID} characters, not {len(self.user_id)}.",
                param="metadata.user_id",
                code="string_above_max_length",
            )
        budget = self.thinking.budget_tokens if self.thinking is not None else None
        if budget is not None and self.max_tokens is not None and self.max_tokens <= budget:
            raise InvalidRequest(
                f"max_tokens must be greater than thinking.budget_tokens, which is part of it: {self.max_tokens} is "
                f"not greater than {budget}.",
                param="max_tokens",
            )
