"""Wire types of tools, and the notations of `tool_choice`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import msgspec

from crossette.api.schema import nested_fields
from crossette.api.schema.table import Refused, Table, Unused, refuse_unsupported
from crossette.errors import InvalidRequest, Unsupported, invalid_value, missing
from crossette.text.tool_calls.tools import Tool, ToolChoice

_NAME = re.compile("[A-Za-z0-9_.-]+")
MODES: dict[str, Literal["auto", "none", "required"]] = {
    "auto": "auto",
    "none": "none",
    "required": "required",
    "any": "required",
}


class Function(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    table: ClassVar[Table] = nested_fields.FUNCTION
    max_name: ClassVar[int] = 64

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None  # Any: a schema is any JSON until it is validated
    strict: bool | None = None
    # without effect
    cache_control: Unused = None
    prompt_cache_breakpoint: Unused = None

    def tool(self, path: str) -> Tool:
        """`path` is its position in errors: `tools[0].function.`"""
        if len(self.name) > self.max_name or not _NAME.fullmatch(self.name):
            raise InvalidRequest(
                f"A function's name must have 1 to {self.max_name} letters, digits, '_', '-' and '.': {self.name!r}",
                param=f"{path}name",
                code="string_above_max_length" if len(self.name) > self.max_name else "invalid_value",
            )
        return Tool(
            self.name, self.description or "", self.parameters or {}, f"{path}parameters", strict=self.strict is True
        )


class ToolSent(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    table: ClassVar[Table] = nested_fields.TOOL

    type: str = "function"
    function: Function | None = None
    # refused
    custom: Refused = None
    # without effect
    cache_control: Unused = None
    prompt_cache_breakpoint: Unused = None

    def tool(self, path: str) -> Tool:
        if self.type != "function":
            raise Unsupported(
                f"'{path}type' is '{self.type}': only tools of type 'function' are supported.", param=f"{path}type"
            )
        refuse_unsupported(self, self.table, path)
        if self.function is None:
            raise missing(f"{path}function")
        return self.function.tool(f"{path}function.")


class Named(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    table: ClassVar[Table] = nested_fields.NAMED

    name: str


class AllowedTool(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    table: ClassVar[Table] = nested_fields.ALLOWED_TOOL

    type: str = "function"
    function: Named | None = None
    name: str | None = None

    def named(self, path: str) -> str:
        if self.type != "function":
            raise Unsupported(
                f"'{path}type' is '{self.type}': only tools of type 'function' are supported.", param=f"{path}type"
            )
        name = self.name if self.function is None else self.function.name
        if name is None:
            raise missing(f"{path}function")
        return name


class AllowedTools(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    table: ClassVar[Table] = nested_fields.ALLOWED_TOOLS

    mode: str
    tools: list[AllowedTool]


class ToolChoiceSent(AllowedTool, kw_only=True, forbid_unknown_fields=True):
    table: ClassVar[Table] = nested_fields.TOOL_CHOICE

    allowed_tools: AllowedTools | None = None
    mode: str | None = None
    tools: list[AllowedTool] | None = None

    def choice(self) -> ToolChoice:
        if self.type in MODES:
            return _by_mode(self.type, (), "tool_choice.type")
        if self.type == "allowed_tools":
            return self._allowed()
        if self.type != "function":
            raise invalid_value("tool_choice.type", ["function", "allowed_tools", *MODES], repr(self.type))
        return _one(self.named("tool_choice."))

    def _allowed(self) -> ToolChoice:
        """OpenAI's wrapper, or the same fields without it, as in its newer API."""
        mode, tools, path = self.mode, self.tools, "tool_choice."
        if self.allowed_tools is not None:
            mode, tools, path = self.allowed_tools.mode, self.allowed_tools.tools, "tool_choice.allowed_tools."
        if not tools:
            raise InvalidRequest(f"'{path}tools' is empty: no tool would be allowed.", param=f"{path}tools")
        names = tuple(tool.named(f"{path}tools[{index}].") for index, tool in enumerate(tools))
        return _by_mode(mode or "auto", names, f"{path}mode")


def tools_of(sent: Sequence[ToolSent]) -> list[Tool]:
    return _distinct([tool.tool(f"tools[{index}].") for index, tool in enumerate(sent)], "tools")


def functions_of(sent: Sequence[Function]) -> list[Tool]:
    return _distinct([function.tool(f"functions[{index}].") for index, function in enumerate(sent)], "functions")


def choice_of(sent: str | ToolChoiceSent | Named | None, param: str) -> ToolChoice:
    """The tool choice in any notation of `param`. Raises InvalidRequest for an invalid one."""
    if sent is None:
        return ToolChoice()
    if isinstance(sent, str):
        return _by_mode(sent, (), param)
    return sent.choice() if isinstance(sent, ToolChoiceSent) else _one(sent.name)


def check_names(choice: ToolChoice, tools: Sequence[Tool], param: str) -> None:
    """Raise InvalidRequest for a choice that names a tool that was not sent, or requires a call without tools."""
    known = {tool.name for tool in tools}
    unknown = next((name for name in choice.names if name not in known), None)
    if unknown is not None:
        listed = ", ".join(sorted(known)) or "none"
        raise InvalidRequest(f"{param} names '{unknown}', which is not among the tools sent: {listed}.", param=param)
    if choice.mode == "required" and not tools:
        raise InvalidRequest(f"{param} requires a call, but no tools were sent.", param=param)


def _one(name: str) -> ToolChoice:
    """A named function is called exactly once."""
    return ToolChoice("required", (name,), parallel=False)


def _by_mode(mode: str, names: tuple[str, ...], param: str) -> ToolChoice:
    if mode not in MODES:
        objects = [] if names else ["an object that names a function"]
        raise InvalidRequest(
            f"{param} must be one of {', '.join([*MODES, *objects])}: {mode!r}", param=param, code="invalid_value"
        )
    return ToolChoice(MODES[mode], names)


def _distinct(tools: list[Tool], param: str) -> list[Tool]:
    names = [tool.name for tool in tools]
    duplicate = next((index for index, name in enumerate(names) if name in names[:index]), None)
    if duplicate is not None:
        path = f"{param}[{duplicate}].function.name" if param == "tools" else f"{param}[{duplicate}].name"
        raise InvalidRequest(f"{param} has two functions with the name '{names[duplicate]}'.", param=path)
    return tools
