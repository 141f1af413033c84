"""Incremental JSON reader: accepts exactly what a JSON parser accepts, character by character."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from crossette.text.pieces import Piece
from crossette.text.reader import SPACE, Malformed, Reader, Reading

_PLAIN = re.compile(r'[^"\\\x00-\x1f]+')
JSON_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_BEGUN_NUMBER = re.compile(r"-?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|(?:0|[1-9][0-9]*)(?:\.[0-9]+)?[eE][+-]?[0-9]*)?")
_LITERALS = ("true", "false", "null")


class JsonScanner:
    """Scans one JSON value, an object, an array or a string, to its end."""

    def __init__(self) -> None:
        self.is_done = False
        self._open: list[str] = []
        """The open brackets."""
        self._next = self._value
        self._lexeme = ""
        """The characters so far of a number, a literal or an escape."""
        self._is_key = False

    def feed(self, text: str) -> int:
        """Return how many characters belong to the value: fewer than all where it ends, or where `text` is not JSON."""
        at = 0
        while at < len(text) and not self.is_done:
            if self._next == self._string and (plain := _PLAIN.match(text, at)):
                at = plain.end()
            elif self._next(text[at]):
                at += 1
            else:
                break
        return at

    # One method for each state: takes a character and returns whether it is valid there.

    def _value(self, character: str) -> bool:
        if character in "{[":
            self._open.append(character)
            self._next = self._first_key if character == "{" else self._first_item
        elif character == '"':
            self._is_key, self._next = False, self._string
        elif character in "-0123456789tfn":
            self._lexeme, self._next = character, self._scalar
        else:
            return character in SPACE and bool(self._open)
        return True

    def _first_item(self, character: str) -> bool:
        return self._close(character) or self._value(character)

    def _first_key(self, character: str) -> bool:
        return self._close(character) or self._key(character)

    def _key(self, character: str) -> bool:
        if character == '"':
            self._is_key, self._next = True, self._string
        return character == '"' or character in SPACE

    def _colon(self, character: str) -> bool:
        if character == ":":
            self._next = self._value
        return character == ":" or character in SPACE

    def _after_value(self, character: str) -> bool:
        if character == ",":
            self._next = self._key if self._open[-1] == "{" else self._value
            return True
        return self._close(character) or character in SPACE

    def _close(self, character: str) -> bool:
        if self._open[-1] + character not in ("{}", "[]"):
            return False
        self._open.pop()
        self._end_value()
        return True

    def _end_value(self) -> None:
        self._next = self._after_value
        self.is_done = not self._open

    def _string(self, character: str) -> bool:
        if character == "\\":
            self._lexeme, self._next = "", self._escape
        elif character == '"' and self._is_key:
            self._next = self._colon
        elif character == '"':
            self._end_value()
        else:
            return character >= " "
        return True

    def _escape(self, character: str) -> bool:
        self._lexeme += character
        if self._lexeme[0] != "u":
            self._next = self._string
            return character in '"\\/bfnrt'
        if len(self._lexeme) == 5:
            self._next = self._string
        return len(self._lexeme) == 1 or character in "0123456789abcdefABCDEF"

    def _scalar(self, character: str) -> bool:
        lexeme = self._lexeme + character
        if _BEGUN_NUMBER.fullmatch(lexeme) or any(literal.startswith(lexeme) for literal in _LITERALS):
            self._lexeme = lexeme
            return True
        if not self._open or not (JSON_NUMBER.fullmatch(self._lexeme) or self._lexeme in _LITERALS):
            return False
        self._next = self._after_value
        return self._after_value(character)


def begins_json(text: str) -> bool:
    """Whether `text` is JSON, or a prefix of JSON."""
    return JsonScanner().feed(text) == len(text)


def json_text(reader: Reader, make: Callable[[str], Piece] | None = None) -> Reading[str]:
    """Read an object, an array or a string. With `make`, yield its text in pieces as it arrives.

    Raises Malformed at the first character that is not JSON, and where the text ends before the value.
    """
    scanner, parts = JsonScanner(), []
    while not scanner.is_done:
        while not (ahead := reader.ahead):
            if reader.ended:
                raise Malformed
            yield None
        length = scanner.feed(ahead)
        parts.append(reader.take(length))
        if make is not None and length:
            yield make(parts[-1])
        if length < len(ahead) and not scanner.is_done:
            raise Malformed
    return "".join(parts)


def json_string(reader: Reader) -> Reading[str]:
    """Read and decode a string. Raises Malformed for anything else."""
    if (yield from reader.peek()) != '"':
        raise Malformed
    decoded: Any = json.loads((yield from json_text(reader)))
    return str(decoded)
