"""Patterns of JSON Schema: JavaScript's regex syntax translated to that of Rust, which enforces them.

Classes are expanded: `\\d`, `\\s`, `.` and `[a&&b]` have another meaning in Rust. Syntax that neither language has, or
that cannot be compiled to an automaton, is left unchanged: the engine names it in its error.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_SPACE = r"\t\n\x0b\x0c\r \x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}\x{feff}"
_CLASSES = {"d": "0-9", "w": "A-Za-z0-9_", "s": _SPACE}
ANY = r"[^\n\r\x{2028}\x{2029}]"
"""What `.` matches."""
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


def to_rust(pattern: str, *, for_json: bool = False) -> str:
    """Translate a pattern to Rust's syntax. Raises ValueError for an unterminated class.

    `for_json` leaves NUL out of classes. A class with all control characters would allow every escape of JSON, also
    those of characters that are not in it. JSON as it is generated has no NUL, so this excludes no text.
    """
    tokens = _TOKEN.finditer(pattern)
    return "".join(
        _class(tokens, for_json=for_json) if token["bare"] == "[" else _outside_class(token) for token in tokens
    )


def _outside_class(token: re.Match[str]) -> str:
    if token["bare"]:
        return ANY if token["bare"] == "." else token["bare"]
    escaped = token["escaped"] or ""
    if escaped.lower() in _CLASSES and escaped:
        return f"[{'^' if escaped.isupper() else ''}{_CLASSES[escaped.lower()]}]"
    return _character(token)


def _character(token: re.Match[str]) -> str:
    """An escape of one character, as its code; any other escape unchanged."""
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


def _class(tokens: Iterator[re.Match[str]], *, for_json: bool) -> str:
    """Translate the rest of a class, after its `[`."""
    items: list[str] = []
    negated = False
    for index, token in enumerate(tokens):
        bare, escaped = token["bare"], token["escaped"] or ""
        if bare == "]":
            return _class_of(items, negated=negated, for_json=for_json)
        if bare == "^" and index == 0:
            negated = True
        elif bare:
            items.append("-" if bare == "-" else _plain(ord(bare)))
        elif escaped and escaped.lower() in _CLASSES:
            inner = _CLASSES[escaped.lower()]
            items.append(f"[^{inner}]" if escaped.isupper() else inner)
        else:
            items.append(_character(token))
    raise ValueError("unterminated character class '['")


def _class_of(items: list[str], *, negated: bool, for_json: bool) -> str:
    if not items:  # `[^]` is any character, and `[]` is none
        return "(?s:.)" if negated else "[^\\x{0}-\\x{10ffff}]"
    for edge in (0, -1):
        items[edge] = _plain(ord("-")) if items[edge] == "-" else items[edge]
    if for_json and negated:
        items = [*items, _plain(0)]
    elif for_json and items[:2] == [_plain(0), "-"] and items[2:3] != [_plain(0)]:
        items[0] = _plain(1)
    return f"[{'^' if negated else ''}{''.join(_item(items, index) for index in range(len(items)))}]"


def _item(items: list[str], index: int) -> str:
    """A hyphen makes a range between two characters, and is literal next to a class like `\\w`."""
    if items[index] != "-" or all(items[neighbour].startswith("\\x") for neighbour in (index - 1, index + 1)):
        return items[index]
    return _plain(ord("-"))


def _plain(code: int) -> str:
    return f"\\x{{{code:x}}}"
