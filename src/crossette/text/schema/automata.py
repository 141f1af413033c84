"""The complement of a pattern: a pattern of all strings in which another one has no match."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Final

from crossette.text.schema.regex_tree import (
    LAST,
    Characters,
    Choice,
    Concatenation,
    Edge,
    Node,
    Ranges,
    Repetition,
    parsed,
)

_MAX_NODES: Final = 300
"""States of the nondeterministic automaton."""
_MAX_STATES: Final = 40
_MAX_WORK: Final = 100_000
"""Parts and ranges that are looked at: 20 ms."""
_MAX_LENGTH: Final = 4000
"""Characters of a complement. Larger ones are slow to compile."""

States = frozenset[int]


@lru_cache(maxsize=200)
def complement(pattern: str, *, at_start: bool = False) -> str | None:
    """A pattern, in ECMA syntax, of the strings in which `pattern` has no match; None if it matches every string.

    With `at_start`, of the strings that have no match at their start. Raises ValueError for a pattern that is no
    regular expression, or whose complement is too large.
    """
    try:
        machine = _Machine(parsed(pattern), at_start=at_start)
        expression = _Expressions(machine).of_the_rest()
    except RecursionError:
        raise ValueError("its complement is too large") from None
    if expression is not None and len(expression) > _MAX_LENGTH:
        raise ValueError("its complement is too large")
    return None if expression is None else f"^(?:{expression})$"


class _Machine:
    """A deterministic automaton that searches for a pattern. It is in no state once it has found a match."""

    def __init__(self, tree: Node, *, at_start: bool) -> None:
        self._work = 0
        self._steps: list[list[tuple[Ranges, int]]] = []
        self._jumps: list[list[tuple[Edge | None, int]]] = []
        start = self._node()
        if not at_start:
            self._steps[start].append((((0, LAST),), start))
        self._end = self._add(tree, start)
        self._pieces = _partition(ranges for steps in self._steps for ranges, _ in steps)
        self.matches_at_end: list[bool] = []
        """Whether the string matches if it ends in this state."""
        self.steps: list[dict[int, list[tuple[int, int]]]] = []
        """For each state the next states, and the characters that lead to them."""
        self._build(self._closure({start}, at_start=True))

    def _node(self) -> int:
        if len(self._steps) >= _MAX_NODES:
            raise ValueError("its complement is too large")
        self._steps.append([])
        self._jumps.append([])
        return len(self._steps) - 1

    def _spend(self, work: int) -> None:
        self._work += work
        if self._work > _MAX_WORK:
            raise ValueError("its complement is too large")

    def _add(self, tree: Node, start: int) -> int:
        """Add the nodes of a pattern that begins at `start`. Return the one at which it ends."""
        self._spend(1)
        match tree:
            case Characters(ranges):
                end = self._node()
                self._steps[start].append((ranges, end))
                return end
            case Edge():
                end = self._node()
                self._jumps[start].append((tree, end))
                return end
            case Concatenation(nodes):
                for one in nodes:
                    start = self._add(one, start)
                return start
            case Choice(nodes):
                end = self._node()
                for one in nodes:
                    first = self._node()
                    self._jumps[start].append((None, first))
                    self._jumps[self._add(one, first)].append((None, end))
                return end
            case Repetition(node, least, most):
                return self._repeat(node, least, most, start)

    def _repeat(self, node: Node, least: int, most: int | None, start: int) -> int:
        for _ in range(least):
            start = self._add(node, start)
        end = self._node()
        self._jumps[start].append((None, end))
        if most is None:
            again = self._node()
            self._jumps[start].append((None, again))
            last = self._add(node, again)
            self._jumps[last] += [(None, again), (None, end)]
            return end
        for _ in range(most - least):
            start = self._add(node, start)
            self._jumps[start].append((None, end))
        return end

    def _closure(self, nodes: Iterable[int], *, at_start: bool = False, at_end: bool = False) -> States:
        found = set(nodes)
        pending = list(found)
        while pending:
            for edge, following in self._jumps[pending.pop()]:
                is_open = edge is None or (at_start if edge.is_start else at_end)
                if is_open and following not in found:
                    found.add(following)
                    pending.append(following)
        return frozenset(found)

    def _build(self, first: States) -> None:
        numbers = {first: 0} if self._end not in first else {}
        pending = list(numbers)
        while pending:
            states = pending.pop(0)
            is_first = len(self.steps) == 0
            self.matches_at_end.append(self._end in self._closure(states, at_start=is_first, at_end=True))
            following: dict[int, list[tuple[int, int]]] = {}
            for piece in self._pieces:
                self._spend(sum(len(ranges) for state in states for ranges, _ in self._steps[state]))
                after = self._closure(
                    end for state in states for ranges, end in self._steps[state] if _contains(ranges, piece[0])
                )
                if self._end in after:
                    continue
                if after not in numbers:
                    if len(numbers) >= _MAX_STATES:
                        raise ValueError("its complement is too large")
                    numbers[after] = len(numbers)
                    pending.append(after)
                following.setdefault(numbers[after], []).append(piece)
            self.steps.append(following)


def _partition(all_ranges: Iterable[Ranges]) -> list[tuple[int, int]]:
    """The largest ranges of characters that all given ranges contain wholly or not at all."""
    cuts = {0, LAST + 1}
    for ranges in all_ranges:
        cuts |= {cut for first, last in ranges for cut in (first, last + 1)}
    ordered = sorted(cuts)
    return [(first, following - 1) for first, following in pairwise(ordered)]


def _contains(ranges: Ranges, code: int) -> bool:
    return any(first <= code <= last for first, last in ranges)


class _Expressions:
    """The regular expression of a machine's strings without a match, by elimination of its states."""

    def __init__(self, machine: _Machine) -> None:
        self._num = len(machine.steps)
        self._end = self._num
        self._paths: dict[tuple[int, int], str] = {}
        for state, following in enumerate(machine.steps):
            for after, ranges in following.items():
                self._paths[state, after] = _characters(ranges)
            if not machine.matches_at_end[state]:
                self._paths[state, self._end] = ""

    def of_the_rest(self) -> str | None:
        """None if there are no such strings."""
        if not self._num:
            return None
        for state in range(self._num - 1, 0, -1):
            self._eliminate(state)
        if (0, self._end) not in self._paths:
            return None
        return _repeated(self._paths.get((0, 0))) + _grouped(self._paths[0, self._end])

    def _eliminate(self, state: int) -> None:
        loop = _repeated(self._paths.pop((state, state), None))
        into = {one: path for (one, other), path in self._paths.items() if other == state}
        out = {other: path for (one, other), path in self._paths.items() if one == state}
        for one, before in into.items():
            del self._paths[one, state]
            for other, after in out.items():
                path = _grouped(before) + loop + _grouped(after)
                direct = self._paths.get((one, other))
                self._paths[one, other] = path if direct is None else f"{direct}|{path}"
                if len(self._paths[one, other]) > _MAX_LENGTH:
                    raise ValueError("its complement is too large")
        for other in out:
            del self._paths[state, other]


def _grouped(expression: str) -> str:
    return f"(?:{expression})" if "|" in expression else expression


def _repeated(expression: str | None) -> str:
    return f"(?:{expression})*" if expression else ""


def _characters(ranges: Sequence[tuple[int, int]]) -> str:
    """A class of characters."""
    merged: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if merged and merged[-1][1] + 1 == first:
            merged[-1] = (merged[-1][0], last)
        else:
            merged.append((first, last))
    if merged == [(0, LAST)]:
        return "[^]"
    return "[" + "".join(rf"\u{{{first:x}}}-\u{{{last:x}}}" for first, last in merged) + "]"
