"""The tools of a request, and its tool choice."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from crossette.text.output_format import OutputFormat, UnusableSchema, json_schema


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the client can run."""

    name: str
    """Letters, digits, `_`, `-` and `.`: no call format escapes it."""
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """A JSON schema of an object; empty for a function without parameters."""
    param: str = "tools"
    """The field of the request, for errors: `tools[0].function.parameters`."""
    strict: bool = False
    """Whether parameters are refused if a grammar cannot enforce them completely."""

    def described(self) -> dict[str, Any]:
        """The tool in the shape of chat templates: some fail if it has no description."""
        function = {"name": self.name, "description": self.description, "parameters": self._object}
        return {"type": "function", "function": function}

    def argument_format(self) -> OutputFormat:
        """The format of its arguments. Raises UnusableSchema for a schema that cannot be enforced."""
        kinds = self.parameters.get("type", "object")
        if kinds != "object" and (not isinstance(kinds, list) or "object" not in kinds):
            fault = f"the parameters of a function are an object, but those of '{self.name}' have the type {kinds!r}."
            raise UnusableSchema(f"{fault[0].upper()}{fault[1:]}", [fault], self.param)
        return json_schema(self._object, self.param, strict=self.strict)

    def enforced_schema(self) -> dict[str, Any]:
        """The schema that the grammar enforces. Raises what `argument_format` raises."""
        schema: dict[str, Any] = json.loads(self.argument_format().constraint.source)
        return schema

    @property
    def _object(self) -> dict[str, Any]:
        kind = {"type": "object"}
        return {**kind, **(self.parameters or {"properties": {}}), **kind}


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """Whether tools may or must be called, and which."""

    mode: Literal["auto", "none", "required"] = "auto"
    names: tuple[str, ...] = ()
    """The names of the tools that may be called; () for all. A named choice is `required` with one name."""
    parallel: bool = True
    """Whether one answer may contain several calls."""

    def allowed(self, tools: Sequence[Tool]) -> list[Tool]:
        """The tools that may be called."""
        return [tool for tool in tools if not self.names or tool.name in self.names]
