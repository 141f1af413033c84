"""Calls as JSON objects, alone or in a list: Hermes and Qwen, Llama 3, Mistral, Granite."""

from __future__ import annotations

from dataclasses import dataclass

from crossette.text.json_reader import json_string, json_text
from crossette.text.reader import Malformed, Reader, Reading
from crossette.text.tool_calls.format import Calls, ToolFormat

_ARGUMENTS = ("arguments", "parameters")
_IGNORED = ("id", "type")
"""Further keys of a call, which are ignored."""


@dataclass(frozen=True, kw_only=True)
class JsonCalls(ToolFormat):
    """Parses any order of the keys and any white space: models differ in both."""

    before_name: str = '{"name": "'
    before_arguments: str = '", "arguments": '
    after_arguments: str = "}"
    is_list: bool = False
    closing: str = ""
    """The tag after the object, or after the list."""

    @property
    def bare_pattern(self) -> str:
        return r'\s*\{\s*"name"'

    def read(self, reader: Reader, calls: Calls) -> Reading[None]:
        opening = yield from reader.expect(*self.openings)
        yield from reader.space()
        if self.is_list and not (opening or "").endswith("["):
            yield from reader.need("[")
        more: str | None = ","
        while more == ",":
            yield from reader.space()
            yield from _read_object(reader, calls)
            reader.hold()
            yield from reader.space()
            more = (yield from reader.need(",", "]", cut=True)) if self.is_list else None
        reader.hold()
        yield from reader.space()
        if self.closing:
            yield from reader.need(self.closing, cut=True)


def _read_object(reader: Reader, calls: Calls) -> Reading[None]:
    """Parse one call. It is emitted once its name is known and its arguments begin."""
    name: str | None = None
    arguments: str | None = None
    is_started = False
    yield from reader.need("{")
    more = ","
    while more == ",":
        yield from reader.space()
        key = yield from json_string(reader)
        yield from reader.space()
        yield from reader.need(":")
        yield from reader.space()
        if key == "name" and name is None:
            name = yield from json_string(reader)
        elif key in _ARGUMENTS and arguments is None:
            if (yield from reader.peek()) != "{":
                raise Malformed
            if name is not None:
                yield calls.start(name)
                reader.release()
                is_started = True
            arguments = yield from json_text(reader, calls.arguments if is_started else None)
            if is_started:
                reader.hold()
        elif key in _IGNORED:
            yield from json_string(reader)
        else:
            raise Malformed
        yield from reader.space()
        more = yield from reader.need(",", "}", cut=is_started)
    if name is None:
        raise Malformed
    if not is_started:
        yield calls.start(name)
        yield calls.arguments(arguments or "{}")
