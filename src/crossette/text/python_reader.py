"""Incremental reader of Python literals, which yields them as JSON."""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Callable

from crossette.text.json_reader import JSON_NUMBER
from crossette.text.pieces import Piece
from crossette.text.reader import Malformed, Reader, Reading

Make = Callable[[str], Piece]

_LITERALS = {"True": "true", "False": "false", "None": "null", "true": "true", "false": "false", "null": "null"}
"""Models write both, and where a grammar takes JSON for a value they write JSON's."""
_MAX_LITERAL = 400
_PLAIN = re.compile(r"[^'\"\\\x00-\x1f]+")
_ESCAPES = {"n": "\\n", "t": "\\t", "r": "\\r", "b": "\\b", "f": "\\f", "\\": "\\\\", '"': '\\"', "'": "'", "/": "/"}
_CODES = {"x": 2, "u": 4, "U": 8}
"""Hexadecimal digits of each kind of escape."""


def python_value(reader: Reader, make: Make) -> Reading[None]:
    """Read a string, a number, a constant, a list or a dict. Raises Malformed for anything else."""
    character = yield from reader.peek()
    if character in ("'", '"'):
        yield from _string(reader, make)
    elif character == "[":
        yield from _items(reader, make, "]")
    elif character == "{":
        yield from _items(reader, make, "}")
    else:
        yield from _literal(reader, make)


def _items(reader: Reader, make: Make, closing: str) -> Reading[None]:
    yield make(reader.take(1))
    yield from reader.space()
    more = (yield from reader.expect(closing)) or ","
    is_first = True
    while more == ",":
        yield from reader.space()
        if not is_first:
            yield make(", ")
        if closing == "}":
            if (yield from reader.peek()) not in ("'", '"'):
                raise Malformed  # a key of an object is a string
            yield from _string(reader, make)
            yield from reader.space()
            yield from reader.need(":")
            yield make(": ")
            yield from reader.space()
        yield from python_value(reader, make)
        yield from reader.space()
        more = yield from reader.need(",", closing)
        is_first = False
    yield make(closing)


def _literal(reader: Reader, make: Make) -> Reading[None]:
    reader.hold()
    text = yield from reader.until(" \t\r\n,)]}:", _MAX_LITERAL)
    yield make(_LITERALS.get(text) or _number(text))
    reader.release()


def _number(text: str) -> str:
    """A number in JSON notation: unchanged where it is valid JSON. Raises Malformed if it is not a number."""
    if JSON_NUMBER.fullmatch(text):
        return text
    try:
        value = ast.literal_eval(text) if re.fullmatch(r"[-+.\w]+", text) else None
    except (ValueError, SyntaxError):
        raise Malformed from None
    if type(value) is int or (type(value) is float and math.isfinite(value)):
        return json.dumps(value)
    raise Malformed


def _string(reader: Reader, make: Make) -> Reading[None]:
    quote = reader.take(1)
    yield make('"')
    while (character := (yield from reader.peek())) != quote:
        if character == "\\":
            yield make((yield from _escape(reader)))
        elif plain := _PLAIN.match(reader.ahead):
            yield make(reader.take(plain.end()))
        elif character:
            yield make(json.dumps(reader.take(1))[1:-1])
        else:
            raise Malformed
    reader.take(1)
    yield make('"')


def _escape(reader: Reader) -> Reading[str]:
    """Read an escape sequence and return it as JSON escapes it. A backslash that escapes nothing is literal."""
    reader.hold()
    reader.take(1)
    kind = yield from reader.peek()
    reader.take(1)
    digits = ""
    while len(digits) < _CODES.get(kind, 0):
        digit = yield from reader.peek()
        if digit not in "0123456789abcdefABCDEF" or not digit:
            raise Malformed
        digits += reader.take(1)
    reader.release()
    if not digits:
        return _ESCAPES.get(kind) or "\\\\" + json.dumps(kind)[1:-1]
    code = int(digits, 16)
    if code > 0x10FFFF:
        raise Malformed
    # Surrogates stay escaped, one by one.
    return f"\\u{digits}" if kind == "u" else json.dumps(chr(code))[1:-1]
