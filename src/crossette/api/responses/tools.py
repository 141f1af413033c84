"""Tools of a request to /responses: functions, and those that only OpenAI's servers run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from crossette.api.responses.schema import FunctionTool
from crossette.api.schema.decoding import type_info
from crossette.api.schema.table import refuse_unsupported
from crossette.api.schema.tools import Function, ToolSent
from crossette.api.schema.validation_errors import explain
from crossette.errors import InvalidRequest, Unsupported, missing

_MAX_KIND = 64
"""Characters of a tool's type that an error or a header repeats."""


@dataclass(frozen=True, slots=True)
class Tools:
    """The functions of a request, and the tools that were left out."""

    functions: list[FunctionTool]
    indices: list[int]
    """The position of each function in the request."""
    skipped: list[str]
    """The types of the others, each once."""


def tools_of(sent: Sequence[dict[str, Any]], *, skips_others: bool) -> Tools:
    """The tools of a request. Raises InvalidRequest, naming the invalid tool.

    With `skips_others`, tools that are no functions are left out, else Unsupported is raised for them.
    """
    tools = Tools([], [], [])
    for index, tool in enumerate(sent):
        path = f"tools[{index}]"
        kind = tool.get("type")
        if kind is None:
            raise missing(f"{path}.type")
        if kind == "function":
            function = _function(tool, path)
            if any(function.name == other.name for other in tools.functions):
                raise InvalidRequest(f"tools has two functions with the name '{function.name}'.", param=f"{path}.name")
            tools.functions.append(function)
            tools.indices.append(index)
        elif not skips_others:
            raise _not_run(kind, path)
        elif (name := str(kind)[:_MAX_KIND]) not in tools.skipped:
            tools.skipped.append(name)
    return tools


def chat_tools(tools: Tools) -> list[ToolSent] | None:
    """The functions in the notation of a chat."""
    return [ToolSent(function=_as_function(tool)) for tool in tools.functions] or None


def _as_function(tool: FunctionTool) -> Function:
    return Function(name=tool.name, description=tool.description, parameters=tool.parameters, strict=tool.strict)


def _function(sent: dict[str, Any], path: str) -> FunctionTool:
    if isinstance(sent.get("function"), dict):
        raise InvalidRequest(
            f"'{path}.function' is the notation of a chat. Here name, description and parameters are beside the type.",
            param=f"{path}.function",
        )
    try:
        tool = msgspec.convert(sent, FunctionTool)
    except msgspec.ValidationError as error:
        found = explain(str(error), type_info(FunctionTool), sent)
        if found.param is not None:
            found.rename(f"{path}.{found.param}")
        raise found from error
    refuse_unsupported(tool, tool.table, f"{path}.")
    _as_function(tool).tool(f"{path}.")  # raises for an invalid name
    return tool


def _not_run(kind: object, path: str) -> Unsupported:
    return Unsupported(
        f"'{path}.type' is {str(kind)[:_MAX_KIND]!r}: this server has no tools of its own, and only tools of type "
        "'function' are supported. Leave it out.",
        param=f"{path}.type",
        hint="--skip-builtin-tools leaves such tools out of every request",
    )
