"""Patterns as patterns without assertions that the compiler enforces together.

A look-ahead at the start of a pattern is an intersection of regular languages, or a difference of them; so is a
look-behind at its end. Any other assertion stays, and the compiler rejects it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from crossette.text.schema.automata import complement
from crossette.text.schema.ecma_regex import to_rust

_ASSERTION: Final = re.compile(r"\(\?<?[=!]|\\b")
_TOKEN: Final = re.compile(r"\\.|\[(?:\\.|[^\]\\])*\]|.", re.DOTALL)
_WORD_FOLLOWS: Final = re.compile(r"\\b(?=(?:[A-Za-z0-9_]|\\[wd])(?![?*{]))")
_WORD_PRECEDES: Final = re.compile(r"(?:(?:^|[^\\A-Za-z0-9_])[A-Za-z0-9_]+|(?:^|[^\\])\\[wd]\+?)(\\b)\Z", re.DOTALL)

_NO_WORD: Final = r"[^\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]"
r"""What is next to a word for JavaScript, whose words are ASCII, and for validators, whose words are not."""


def has_assertion(pattern: str) -> bool:
    """Whether a pattern may have look-around, or a boundary of words."""
    return _ASSERTION.search(pattern) is not None


def conjuncts_of(pattern: str) -> list[str]:
    """Patterns in Rust's syntax that a string matches all of if it matches this one.

    Raises ValueError for an unterminated class, and for an assertion that is no difference of regular languages.
    """
    if not has_assertion(pattern) or _has_choice(pattern):
        return [to_rust(pattern, for_json=True)]
    start, rest = ("^", pattern[1:]) if pattern.startswith("^") else ("", pattern)
    rest, end = (rest[:-1], "$") if rest.endswith("$") and not rest.endswith("\\$") else (rest, "")
    conjuncts: list[str] = []
    while start and rest.startswith(("(?=", "(?!")) and (group := next(_groups(rest), "")):
        conjuncts.append(_ahead(group))
        rest = rest[len(group) :]
    while end and (group := _last_group(rest)).startswith(("(?<=", "(?<!")):
        conjuncts.append(_behind(group))
        rest = rest[: -len(group)]
    return [to_rust(one, for_json=True) for one in (*conjuncts, _without_boundaries(start, rest, end))]


def _ahead(group: str) -> str:
    body = group[3:-1].removeprefix("^")
    if group.startswith("(?="):
        return f"^(?:{body})"
    return _or_nothing(complement(body, at_start=True))


def _behind(group: str) -> str:
    body = group[4:-1]
    return f"(?:{body})$" if group.startswith("(?<=") else _or_nothing(complement(f"(?:{body})$"))


def _or_nothing(pattern: str | None) -> str:
    return "[]" if pattern is None else pattern


def _without_boundaries(start: str, rest: str, end: str) -> str:
    r"""The pattern without `\b` at its ends, where it is next to a character of a word."""
    if _WORD_FOLLOWS.match(rest):
        rest = rest[2:] if start else f"(?:^|{_NO_WORD}){rest[2:]}"
    if _WORD_PRECEDES.search(rest):
        rest = rest[:-2] if end else f"{rest[:-2]}(?:{_NO_WORD}|$)"
    return f"{start}{rest}{end}"


def _groups(pattern: str) -> Iterator[str]:
    """The groups that are in no other group. A group that is not closed is left out."""
    depth = begin = 0
    for token in _TOKEN.finditer(pattern):
        if token[0] == "(":
            begin = token.start() if depth == 0 else begin
            depth += 1
        elif token[0] == ")":
            depth -= 1
            if depth == 0:
                yield pattern[begin : token.end()]


def _last_group(pattern: str) -> str:
    """The group that a pattern ends with; "" if there is none."""
    last = next(reversed(list(_groups(pattern))), "")
    return last if last and pattern.endswith(last) else ""


def _has_choice(pattern: str) -> bool:
    """Whether the pattern has alternatives that are in no group."""
    depth = 0
    for token in _TOKEN.finditer(pattern):
        depth += {"(": 1, ")": -1}.get(token[0], 0)
        if token[0] == "|" and depth == 0:
            return True
    return False
