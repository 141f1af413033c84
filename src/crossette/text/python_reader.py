"""Python literals read as they arrive, and said as JSON."""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Callable

from crossette.text.json_reader import JSON_NUMBER
from crossette.text.pieces import Piece
from crossette.text.reader import Malformed, Reader, Reading

Say = Callable[[str], Piece]

_WORDS = {"True": "true", "False": "false", "None": "null", "true": "true", "false": "false", "null": "null"}
"""Models write both spellings, and a grammar that takes JSON for a value writes JSON's."""
_MAX_WORD = 400
_PLAIN = re.compile(r"[^'\"\\\x00-\x1f]+")
_ESCAPES = {"n": "\\n", "t": "\\t", "r": "\\r", "b": "\\b", "f": "\\f", "\\": "\\\\", '"': '\\"', "'": "'", "/": "/"}
_CODES = {"x": 2, "u": 4, "U": 8}
"""Hexadecimal digits behind each kind of escape."""


def python_value(reader: Reader, say: Say) -> Reading[None]:
    """Read a string, a number, a word, a list or a dict. Raises Malformed at what is none."""
    character = yield from reader.peek()
    if character in ("'", '"'):
        yield from _string(reader, say)
    elif character == "[":
        yield from _items(reader, say, "]")
    elif character == "{":
        yield from _items(reader, say, "}")
    else:
        yield from _word(reader, say)


def _items(reader: Reader, say: Say, closing: str) -> Reading[None]:
    yield say(reader.take(1))
    yield from reader.space()
    more = (yield from reader.expect(closing)) or ","
    is_first = True
    while more == ",":
        yield from reader.space()
        if not is_first:
            yield say(", ")
        if closing == "}":
            if (yield from reader.peek()) not in ("'", '"'):
                raise Malformed  # a key of an object is a string
            yield from _string(reader, say)
            yield from reader.space()
            yield from reader.need(":")
            yield say(": ")
            yield from reader.space()
        yield from python_value(reader, say)
        yield from reader.space()
        more = yield from reader.need(",", closing)
        is_first = False
    yield say(closing)


def _word(reader: Reader, say: Say) -> Reading[None]:
    reader.hold()
    word = yield from reader.until(" \t\r\n,)]}:", _MAX_WORD)
    yield say(_WORDS.get(word) or _number(word))
    reader.release()


def _number(word: str) -> str:
    """A number as JSON spells it: as it stands, where it can."""
    if JSON_NUMBER.fullmatch(word):
        return word
    try:
        value = ast.literal_eval(word) if re.fullmatch(r"[-+.\w]+", word) else None
    except (ValueError, SyntaxError):
        raise Malformed from None
    if type(value) is int or (type(value) is float and math.isfinite(value)):
        return json.dumps(value)
    raise Malformed


def _string(reader: Reader, say: Say) -> Reading[None]:
    quote = reader.take(1)
    yield say('"')
    while (character := (yield from reader.peek())) != quote:
        if character == "\\":
            yield say((yield from _escape(reader)))
        elif plain := _PLAIN.match(reader.ahead):
            yield say(reader.take(plain.end()))
        elif character:
            yield say(json.dumps(reader.take(1))[1:-1])
        else:
            raise Malformed
    reader.take(1)
    yield say('"')


def _escape(reader: Reader) -> Reading[str]:
    """What stands behind a backslash, as JSON escapes it; a backslash that escapes nothing is itself."""
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
    # Halves of a pair are escaped one by one.
    return f"\\u{digits}" if kind == "u" else json.dumps(chr(code))[1:-1]
