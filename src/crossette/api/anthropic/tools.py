"""Tools and `tool_choice` of POST /messages, as those of a chat."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import msgspec

from crossette.api.anthropic import fields
from crossette.api.schema.table import Refused, Table, Unused, refuse_unsupported
from crossette.api.schema.tools import Function, Named, ToolChoiceSent, ToolSent
from crossette.errors import InvalidRequest, Unsupported, missing

_MODES = {"auto": "auto", "any": "required", "none": "none"}


class LongNamed(Function, kw_only=True, forbid_unknown_fields=True):
    """A function whose name may be as long as Anthropic's API allows."""

    max_name: ClassVar[int] = 128


class CustomTool(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    table: ClassVar[Table] = fields.TOOL

    name: str
    description: str | None = None
    input_schema: dict[str, Any] | None = None  # Any: a schema is any JSON until it is validated
    strict: bool | None = None
    type: str | None = None
    # without effect
    eager_input_streaming: Unused = None
    cache_control: Unused = None
    # refused
    defer_loading: Refused = None
    allowed_callers: Refused = None
    input_examples: Refused = None

    def for_chat(self, path: str) -> ToolSent:
        """`path` is its position in errors: `tools[0].`"""
        if self.type not in (None, "custom"):
            raise Unsupported(
                f"'{path}type' is {self.type[:64]!r}, a tool that Anthropic's servers define. Send a tool with 'name', "
                "'description' and 'input_schema'.",
                param=f"{path}type",
            )
        refuse_unsupported(self, self.table, path)
        if self.input_schema is None:
            raise missing(f"{path}input_schema")
        function = LongNamed(
            name=self.name, description=self.description, parameters=self.input_schema, strict=self.strict
        )
        return ToolSent(function=function)


class ToolUseChoice(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    table: ClassVar[Table] = fields.TOOL_CHOICE

    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None

    def for_chat(self) -> str | ToolChoiceSent:
        if self.type == "none" and self.disable_parallel_tool_use is not None:
            path = "tool_choice.disable_parallel_tool_use"
            raise InvalidRequest(f"'{path}' is not for a tool_choice of type 'none'.", param=path)
        if self.type == "tool":
            if self.name is None:
                raise missing("tool_choice.name")
            return ToolChoiceSent(function=Named(name=self.name))
        if self.name is not None:
            raise InvalidRequest(
                f"'tool_choice.name' is for a tool_choice of type 'tool', not '{self.type}'.", param="tool_choice.name"
            )
        return _MODES[self.type]
