"""Calls in Python syntax: `[weather(city="Rome", days=3)]` of Llama, and `tool_code` blocks of Gemma."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from crossette.errors import Unsupported
from crossette.text.lark import json_of
from crossette.text.python_reader import python_value
from crossette.text.reader import SPACE, Malformed, Reader, Reading
from crossette.text.tool_calls.format import NAME, Calls, ToolFormat
from crossette.text.tool_calls.shapes import SCHEMA_WIDE, Shape, shapes_of
from crossette.text.tool_calls.tools import Tool

_MAX_NAME = 64


@dataclass(frozen=True, kw_only=True)
class PythonicCalls(ToolFormat):
    """Calls with keyword arguments."""

    before_name: str = ""
    before_arguments: str = "("
    after_arguments: str = ")"
    is_list: bool = True
    """Whether the calls are in square brackets."""
    closing: str = "]"
    """The tag after the last call."""

    def render_arguments(self, arguments: str) -> str:
        return ", ".join(f"{key}={value!r}" for key, value in json.loads(arguments).items())

    def arguments_of(self, tool: Tool) -> str:
        """Parameters in schema order, the required ones first. Their values are JSON, except for booleans."""
        schema = tool.enforced_schema()
        expressions = [_arguments(shape, schema) for shape in _shapes(schema, tool, self.name)]
        return f"({' | '.join(expressions)})" if len(expressions) > 1 else expressions[0]

    @property
    def bare_pattern(self) -> str:
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


def _shapes(schema: Mapping[str, Any], tool: Tool, format_name: str) -> list[Shape]:
    """The shapes of an enforced schema whose properties are all named, by valid Python names."""
    shapes = shapes_of(schema)
    if not shapes or not all(name.isidentifier() for shape in shapes for name in shape.properties):
        raise Unsupported(
            f"The parameters of the function '{tool.name}' are more than named properties, and the model's tool "
            f"format '{format_name}' supports keyword arguments only. Describe them by 'properties' and 'required' "
            "alone.",
            param=tool.param,
        )
    return shapes


def _arguments(shape: Shape, schema: Mapping[str, Any]) -> str:
    """The arguments of one shape as a Lark expression."""
    expressions = {name: f'"{name}=" {_value(value, schema)}' for name, value in shape.properties.items()}
    required = [expressions[name] for name in expressions if name in shape.required]
    optional = [expressions[name] for name in expressions if name not in shape.required]
    rest = [f'(", " {value})?' for value in optional]
    if required:
        return " ".join([' ", " '.join(required), *rest])
    # The first parameter has no comma before it.
    beginnings = [" ".join([value, *rest[index + 1 :]]) for index, value in enumerate(optional)]
    return f"({' | '.join(beginnings)})?" if beginnings else '""'


def _value(schema: Any, root: Mapping[str, Any]) -> str:
    """A property's value as a Lark expression. It carries the definitions of the whole schema, for its references."""
    schema_wide = {key: root[key] for key in SCHEMA_WIDE if key in root}
    if not isinstance(schema, Mapping):
        return json_of(schema_wide)
    if schema.get("type") == "boolean" and not {"enum", "const"} & schema.keys():
        return '("True" | "False")'
    return json_of({**schema, **schema_wide})


def _read_call(reader: Reader, calls: Calls) -> Reading[None]:
    """Parse one call. It is emitted once the name of its first parameter is known."""
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
            yield calls.start(name)
        reader.release()
        yield calls.arguments(("{" if is_first else ", ") + json.dumps(key, ensure_ascii=False) + ": ")
        yield from python_value(reader, calls.arguments)
        is_first = False
        reader.hold()
        yield from reader.space()
        more = yield from reader.need(",", ")")
    if is_first:
        yield calls.start(name)
    yield calls.arguments("{}" if is_first else "}")
