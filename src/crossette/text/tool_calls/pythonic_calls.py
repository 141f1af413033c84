"""Calls that are written as Python: `[weather(city="Rome", days=3)]` of Llama, and `tool_code` blocks of Gemma."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from crossette.errors import InvalidRequest, Unsupported
from crossette.text.lark import json_of
from crossette.text.python_reader import python_value
from crossette.text.reader import SPACE, Malformed, Reader, Reading
from crossette.text.tool_calls.format import NAME, Calls, ToolFormat
from crossette.text.tool_calls.tools import Tool

_MAX_NAME = 64
_AROUND = ("$defs", "x-guidance")
"""What an enforced schema says of all its parts."""
_PROPERTIES_ALONE = frozenset(("type", "properties", "required", "additionalProperties", "$comment", *_AROUND))


@dataclass(frozen=True, kw_only=True)
class PythonicCalls(ToolFormat):
    before_name: str = ""
    before_arguments: str = "("
    after_arguments: str = ")"
    is_list: bool = True
    """Whether the calls stand in brackets."""
    closing: str = "]"
    """What stands behind the last call."""

    def render_arguments(self, arguments: str) -> str:
        return ", ".join(f"{key}={value!r}" for key, value in json.loads(arguments).items())

    def arguments_of(self, tool: Tool) -> str:
        """Parameters in the order of the schema, the required ones first; their values are JSON, but for booleans."""
        schema = tool.enforced_schema()
        required = schema.get("required", ())
        properties = _parameters(schema, tool, self.name)
        written = {name: f'"{name}=" {_value(value, schema)}' for name, value in properties.items()}
        needed = [written[name] for name in written if name in required]
        optional = [written[name] for name in written if name not in required]
        behind = [f'(", " {value})?' for value in optional]
        if needed:
            return " ".join([' ", " '.join(needed), *behind])
        # The one that comes first has no comma before it.
        beginnings = [" ".join([value, *behind[place + 1 :]]) for place, value in enumerate(optional)]
        return f"({' | '.join(beginnings)})?" if beginnings else '""'

    @property
    def bare_beginning(self) -> str:
        return r"\s*\[\s*[^\s(]+\("

    def read(self, reader: Reader, calls: Calls) -> Reading[None]:
        yield from reader.expect(*self.openings)
        yield from reader.space()
        if self.is_list:
            yield from reader.need("[")
        while True:
            yield from reader.space()
            if (yield from reader.expect(self.closing, cut=True)):
                return
            if calls.num:
                yield from reader.expect(",")
                yield from reader.space()
            yield from _read_call(reader, calls)
            reader.hold()


def _parameters(schema: Mapping[str, Any], tool: Tool, format_name: str) -> Mapping[str, Any]:
    """The properties of an enforced schema that is nothing but properties with names of Python."""
    properties: Mapping[str, Any] = schema.get("properties", {})
    never = {name for name, value in properties.items() if value is False}
    if never & set(schema.get("required", ())):
        raise InvalidRequest(
            f"The function '{tool.name}' requires a parameter whose schema is false, which no value matches.",
            param=tool.param,
        )
    is_closed = schema.get("additionalProperties") is False
    if schema.keys() - _PROPERTIES_ALONE or not is_closed or not all(name.isidentifier() for name in properties):
        raise Unsupported(
            f"The parameters of the function '{tool.name}' are more than named properties, and the model's tool "
            f"format '{format_name}' writes keyword arguments. Describe them by 'properties' and 'required' alone.",
            param=tool.param,
        )
    return {name: value for name, value in properties.items() if name not in never}


def _value(schema: Any, root: Mapping[str, Any]) -> str:
    """A property's value as a Lark expression. Its references point into the whole schema, so that goes along."""
    around = {key: root[key] for key in _AROUND if key in root}
    if not isinstance(schema, Mapping):
        return json_of(around)
    if schema.get("type") == "boolean" and not {"enum", "const"} & schema.keys():
        return '("True" | "False")'
    return json_of({**schema, **around})


def _read_call(reader: Reader, calls: Calls) -> Reading[None]:
    """One call. It is said from where its first parameter's name is known."""
    name = yield from reader.until("(", _MAX_NAME)
    if not re.fullmatch(NAME, name):
        raise Malformed
    reader.take(1)
    yield from reader.space()
    more = "," if (yield from reader.expect(")")) is None else ")"
    is_first = True
    while more == ",":
        yield from reader.space()
        key = (yield from reader.until("=", _MAX_NAME)).rstrip(SPACE)
        if not key.isidentifier():
            raise Malformed
        reader.take(1)
        yield from reader.space()
        if is_first:
            yield calls.head(name)
        reader.release()
        yield calls.arguments(("{" if is_first else ", ") + json.dumps(key, ensure_ascii=False) + ": ")
        yield from python_value(reader, calls.arguments)
        is_first = False
        reader.hold()
        yield from reader.space()
        more = yield from reader.need(",", ")")
    if is_first:
        yield calls.head(name)
    yield calls.arguments("{}" if is_first else "}")
