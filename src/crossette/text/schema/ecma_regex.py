"""Patterns of JSON Schema, which are JavaScript's, in the words of the regex engine that enforces them.

Classes are written out: what `\\d`, `\\s`, `.` and `[a&&b]` mean is not the same there. What is in neither language, or
cannot be compiled to an automaton, is left as it stands: the engine refuses it by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_SPACE = r"\t\n\x0b\x0c\r \x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}\x{feff}"
_CLASSES = {"d": "0-9", "w": "A-Za-z0-9_", "s": _SPACE}
_ANY = r"[^\n\r\x{2028}\x{2029}]"
_CONTROLS = {"t": 9, "n": 10, "v": 11, "f": 12, "r": 13, "0": 0}

_TOKEN = re.compile(
    r"""\\u\{(?P<brace>[0-9a-fA-F]{1,6})\}
      | \\u(?P<four>[0-9a-fA-F]{4})
      | \\x(?P<two>[0-9a-fA-F]{2})
      | \\c(?P<control>[A-Za-z])
      | (?P<property>\\[pP]\{[^}]*\})
      | \\(?P<escaped>.)
      | (?P<bare>.)""",
    re.VERBOSE | re.DOTALL,
)


def to_rust(pattern: str) -> str:
    """The same pattern for Rust's regex. Raises ValueError for a class without an end."""
    tokens = _TOKEN.finditer(pattern)
    return "".join(_class(tokens) if token["bare"] == "[" else _outside(token) for token in tokens)


def _outside(token: re.Match[str]) -> str:
    if token["bare"]:
        return _ANY if token["bare"] == "." else token["bare"]
    escaped = token["escaped"] or ""
    if escaped.lower() in _CLASSES and escaped:
        return f"[{'^' if escaped.isupper() else ''}{_CLASSES[escaped.lower()]}]"
    return _character(token)


def _character(token: re.Match[str]) -> str:
    """An escape that means one character; any other as it stands."""
    escaped = token["escaped"]
    if digits := token["brace"] or token["four"] or token["two"]:
        return _plain(int(digits, 16))
    if token["control"]:
        return _plain(ord(token["control"]) % 32)
    if escaped in _CONTROLS:
        return _plain(_CONTROLS[escaped])
    if escaped and not escaped.isalnum():
        return _plain(ord(escaped))
    return token[0]


def _class(tokens: Iterator[re.Match[str]]) -> str:
    """The rest of a class, from behind its `[`."""
    items: list[str] = []
    negated = False
    for place, token in enumerate(tokens):
        bare, escaped = token["bare"], token["escaped"] or ""
        if bare == "]":
            return _written(items, negated=negated)
        if bare == "^" and place == 0:
            negated = True
        elif bare:
            items.append("-" if bare == "-" else _plain(ord(bare)))
        elif escaped and escaped.lower() in _CLASSES:
            inner = _CLASSES[escaped.lower()]
            items.append(f"[^{inner}]" if escaped.isupper() else inner)
        else:
            items.append(_character(token))
    raise ValueError("a class has no end: '['")


def _written(items: list[str], *, negated: bool) -> str:
    if not items:  # `[^]` is any character, and `[]` is none
        return "(?s:.)" if negated else "[^\\x{0}-\\x{10ffff}]"
    for edge in (0, -1):
        items[edge] = _plain(ord("-")) if items[edge] == "-" else items[edge]
    return f"[{'^' if negated else ''}{''.join(_item(items, place) for place in range(len(items)))}]"


def _item(items: list[str], place: int) -> str:
    """A hyphen makes a range between two characters, and is itself beside a class like `\\w`."""
    if items[place] != "-" or all(items[beside].startswith("\\x") for beside in (place - 1, place + 1)):
        return items[place]
    return _plain(ord("-"))


def _plain(code: int) -> str:
    return f"\\x{{{code:x}}}"
