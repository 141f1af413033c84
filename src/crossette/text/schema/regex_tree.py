"""The syntax tree of a pattern, as far as it is a regular expression."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import islice
from typing import Final

from crossette.text.schema.ecma_regex import ANY, to_rust

LAST: Final = 0x10FFFF
"""The last code point."""

MAX_LISTED: Final = 16
"""The most strings of a pattern that are listed."""

Ranges = tuple[tuple[int, int], ...]
"""Ranges of code points: first and last."""


@dataclass(frozen=True, slots=True)
class Characters:
    """One character."""

    ranges: Ranges


@dataclass(frozen=True, slots=True)
class Edge:
    """The start or the end of the string."""

    is_start: bool


@dataclass(frozen=True, slots=True)
class Concatenation:
    nodes: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    nodes: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Repetition:
    node: Node
    least: int
    most: int | None
    """None for any number."""


Node = Characters | Edge | Concatenation | Choice | Repetition

_QUANTIFIER: Final = re.compile(r"(?:([*+?])|\{(\d{1,4})(?:(,)(\d{1,4})?)?\})\??")
_GROUP: Final = re.compile(r"\((?:\?(?::|P?<[A-Za-z_]\w*>))?")
_CHARACTER: Final = re.compile(r"\\x\{([0-9a-f]+)\}|\\x([0-9a-f]{2})|\\([tnr])|([^\\])", re.DOTALL)
_CONTROLS: Final = {"t": 9, "n": 10, "r": 13}


def parsed(pattern: str) -> Node:
    """The tree of a pattern in ECMA syntax. Raises ValueError for anything but a regular expression.

    A `.` is any character but a line feed, as for validators. For JavaScript it is none of four line breaks.
    """
    parser = _Parser(to_rust(pattern))
    node = parser.choice()
    if parser.rest:
        raise parser.unsupported()
    return node


def listed(pattern: str) -> list[str] | None:
    """All strings that match a pattern; None if there are more than a few, or its syntax is not supported."""
    try:
        return _texts(_anchored(parsed(pattern)), MAX_LISTED)
    except ValueError:
        return None


def _anchored(tree: Node) -> Node:
    """The tree between the edges of a pattern. Raises ValueError for one that matches parts of strings."""
    match tree:
        case Concatenation((Edge(is_start=True), *inner, Edge(is_start=False))):
            return Concatenation(tuple(inner))
        case Concatenation((Choice() as only,)) | (Choice() as only):
            return Choice(tuple(map(_anchored, only.nodes)))
    raise ValueError("it matches parts of strings")


def _texts(node: Node, limit: int) -> list[str] | None:
    """The strings of a tree, in the order of its alternatives."""
    match node:
        case Characters(ranges):
            codes = [code for first, last in ranges for code in islice(range(first, last + 1), limit + 1)]
            texts: list[str] | None = [chr(code) for code in codes]
        case Concatenation(nodes):
            texts = [""]
            for one in nodes:
                texts = _joined(texts, _texts(one, limit), limit)
        case Choice(nodes):
            found = [_texts(one, limit) for one in nodes]
            texts = None if None in found else [text for some in found for text in some or ()]
        case Repetition(inner, least, most) if most is not None and most <= limit:
            powers = [_texts(Concatenation((inner,) * num), limit) for num in range(least, most + 1)]
            texts = None if None in powers else [text for some in powers for text in some or ()]
        case _:
            return None
    return None if texts is None or len(texts) > limit else list(dict.fromkeys(texts))


def _joined(before: list[str] | None, after: list[str] | None, limit: int) -> list[str] | None:
    if before is None or after is None or len(before) * len(after) > limit:
        return None
    return [one + other for one in before for other in after]


class _Parser:
    """Parses Rust's syntax as `to_rust` writes it."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._position = 0

    @property
    def rest(self) -> str:
        return self._text[self._position :]

    def unsupported(self) -> ValueError:
        return ValueError(f"'{self.rest[:20]}' is not part of a regular expression")

    def _take(self, text: str) -> bool:
        is_next = self._text.startswith(text, self._position)
        self._position += len(text) if is_next else 0
        return is_next

    def _match(self, expression: re.Pattern[str]) -> re.Match[str] | None:
        found = expression.match(self._text, self._position)
        self._position = found.end() if found else self._position
        return found

    def choice(self) -> Node:
        nodes = [self._concatenation()]
        while self._take("|"):
            nodes.append(self._concatenation())
        return nodes[0] if len(nodes) == 1 else Choice(tuple(nodes))

    def _concatenation(self) -> Node:
        nodes: list[Node] = []
        while self.rest and self.rest[0] not in "|)":
            node = self._atom()
            while found := self._match(_QUANTIFIER):
                node = Repetition(node, *_bounds(found))
            nodes.append(node)
        return Concatenation(tuple(nodes))

    def _atom(self) -> Node:
        if self._take("(?s:.)"):
            return Characters(((0, LAST),))
        if self._take(ANY):
            return Characters(inverted([(10, 10)]))
        if self._take("["):
            return Characters(self._class())
        if self._take("^"):
            return Edge(is_start=True)
        if self._take("$"):
            return Edge(is_start=False)
        if self.rest[0] == "(":
            return self._group()
        if self.rest[0] in "*+?":
            raise self.unsupported()
        code = self._code()
        return Characters(((code, code),))

    def _group(self) -> Node:
        found = self._match(_GROUP)
        if found is None or self.rest.startswith("?"):
            raise self.unsupported()
        node = self.choice()
        if not self._take(")"):
            raise self.unsupported()
        return node

    def _code(self) -> int:
        found = self._match(_CHARACTER)
        if found is None:
            raise self.unsupported()
        long, short, control, plain = found.groups()
        return int(long or short, 16) if long or short else _CONTROLS[control] if control else ord(plain)

    def _class(self) -> Ranges:
        """The rest of a class, after its `[`."""
        is_negated = self._take("^")
        ranges: list[tuple[int, int]] = []
        while not self._take("]"):
            if self._take("["):
                ranges += self._class()
                continue
            first = self._code()
            last = self._code() if self._take("-") else first
            ranges.append((first, last))
        return inverted(ranges) if is_negated else tuple(ranges)


def _bounds(found: re.Match[str]) -> tuple[int, int | None]:
    sign, least, comma, most = found.groups()
    if sign:
        return (1 if sign == "+" else 0), (1 if sign == "?" else None)
    return int(least), int(most) if most else None if comma else int(least)


def inverted(ranges: list[tuple[int, int]]) -> Ranges:
    """All other code points."""
    out, position = [], 0
    for first, last in sorted(ranges):
        if first > position:
            out.append((position, first - 1))
        position = max(position, last + 1)
    return (*out, (position, LAST)) if position <= LAST else tuple(out)
