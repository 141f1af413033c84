"""Find the rules of a GBNF grammar that can be terminals; lexing those costs a tenth of parsing their characters.

A lexer takes the longest match at a position, while GBNF matches character by character. So a rule without recursion
becomes a terminal only where both agree: wherever a lexeme may end, no other lexeme with the same beginning continues
with a character that may also follow the end. Follow sets are computed over the whole grammar, and a counted
repetition is treated as unbounded, so the test is conservative: it never accepts a rule wrongly, but may refuse one
that would do. A grammar without recursion is one terminal.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

Ranges = tuple[tuple[int, int], ...]
"""A set of characters, as ascending (first, last) pairs of code points."""

MAX_RULES = 1000
_MAX_WORK = 200_000
"""Visits of a part of the grammar, or of a pair of positions: half a second of work."""


@dataclass(frozen=True, slots=True)
class Characters:
    """One character out of a set."""

    ranges: Ranges


@dataclass(frozen=True, slots=True)
class Use:
    """A reference to a rule."""

    rule: str


@dataclass(frozen=True, slots=True)
class Series:
    parts: Sequence[Node]


@dataclass(frozen=True, slots=True)
class Options:
    parts: Sequence[Node]


@dataclass(frozen=True, slots=True)
class Repeated:
    part: Node
    may_be_none: bool
    may_be_more: bool


Node = Characters | Use | Series | Options | Repeated


class _TooLarge(Exception):
    pass


@dataclass(slots=True)
class _Work:
    left: int = _MAX_WORK

    def spend(self, amount: int = 1) -> None:
        self.left -= amount
        if self.left < 0:
            raise _TooLarge


def terminals_of(rules: Mapping[str, Node], root: str) -> frozenset[str]:
    """The rules that become terminals where nonterminals use them; empty for a grammar that is too large to analyse.

    Takes `MAX_RULES` rules at most.
    """
    try:
        candidates = _without_recursion(rules)
        if root in candidates:
            return frozenset({root})
        work = _Work()
        while True:
            lexicon = _Lexicon(rules, candidates, root, work)
            unfit = lexicon.unfit_terminal()
            if unfit is None:
                return frozenset(lexicon.terminals)
            candidates.remove(unfit)  # it becomes a nonterminal; the rules that it uses may still be terminals
    except (_TooLarge, RecursionError):
        return frozenset()


def _without_recursion(rules: Mapping[str, Node]) -> set[str]:
    """The rules from which no recursive rule is reachable."""
    uses = {name: set(_uses(node)) for name, node in rules.items()}
    found: set[str] = set()
    while more := {name for name, used in uses.items() if name not in found and used <= found}:
        found |= more
    return found


def _uses(node: Node) -> Iterator[str]:
    match node:
        case Use(rule):
            yield rule
        case Series(parts) | Options(parts):
            for part in parts:
                yield from _uses(part)
        case Repeated(part):
            yield from _uses(part)


@dataclass(slots=True)
class _Span:
    """The positions in `_Positions` at which a part of the grammar may begin and end."""

    may_be_empty: bool
    first: set[int]
    last: set[int]


@dataclass(slots=True)
class _Positions:
    """The positions of characters in the grammar, and the positions that may follow each within a terminal."""

    work: _Work
    ranges: list[Ranges] = field(default_factory=list)
    follow: list[set[int]] = field(default_factory=list)

    def add(self, ranges: Ranges) -> int:
        self.ranges.append(ranges)
        self.follow.append(set())
        return len(self.ranges) - 1

    def share_character(self, one: int, other: int) -> bool:
        """Whether some character matches at both positions."""
        return any(a <= d and c <= b for (a, b), (c, d) in product(self.ranges[one], self.ranges[other]))

    def share_first_byte(self, one: int, other: int) -> bool:
        """Whether characters at both positions may share a first UTF-8 byte, which is all that the lexer compares."""
        return any(
            _lead(a) <= _lead(d) and _lead(c) <= _lead(b)
            for (a, b), (c, d) in product(self.ranges[one], self.ranges[other])
        )

    def span(self, node: Node, rules: Mapping[str, Node]) -> _Span:
        """Add a part of a terminal, with the rules that it uses inlined."""
        self.work.spend()
        match node:
            case Characters(ranges):
                position = self.add(ranges)
                return _Span(False, {position}, {position})
            case Use(rule):
                return self.span(rules[rule], rules)
            case Options(parts):
                spans = [self.span(part, rules) for part in parts]
                return _Span(
                    any(span.may_be_empty for span in spans),
                    set().union(*(span.first for span in spans)),
                    set().union(*(span.last for span in spans)),
                )
            case Series(parts):
                joined = _Span(True, set(), set())
                for part in parts:
                    joined = self._joined(joined, self.span(part, rules))
                return joined
            case Repeated(part, may_be_none, may_be_more):
                span = self.span(part, rules)
                if may_be_more:
                    self._connect(span.last, span.first)
                return _Span(span.may_be_empty or may_be_none, span.first, span.last)

    def _joined(self, one: _Span, other: _Span) -> _Span:
        self._connect(one.last, other.first)
        self.work.spend(len(one.first) + len(other.last))
        return _Span(
            one.may_be_empty and other.may_be_empty,
            one.first | other.first if one.may_be_empty else one.first,
            other.last | one.last if other.may_be_empty else other.last,
        )

    def _connect(self, before: Collection[int], after: set[int]) -> None:
        self.work.spend(len(before) * (1 + len(after)))
        for position in before:
            self.follow[position] |= after


def _lead(code: int) -> int:
    """The first byte of a character in UTF-8; surrogates are encoded too."""
    return chr(code).encode("utf-8", "surrogatepass")[0]


class _Lexicon:
    """A grammar divided into terminals and nonterminals; in nonterminals each character is a lexeme of its own."""

    def __init__(self, rules: Mapping[str, Node], candidates: Collection[str], root: str, work: _Work) -> None:
        self._work = work
        self._positions = _Positions(work)
        self._spans: dict[str, _Span] = {}
        """The spans of terminals, by rule name."""
        self._starts: dict[str, tuple[bool, set[int]]] = {}
        """For each nonterminal: whether it may be empty, and the positions that it may begin with."""
        self._next: dict[int, set[int]] = {}
        """The positions that may follow a lexeme that ends at a position."""
        self._leaves: dict[int, int] = {}
        self._rules = rules
        self._candidates = candidates
        self._after: dict[str, set[int]] = {}
        """For each nonterminal: the positions that may follow it."""
        nonterminals = self._find(root)
        self.terminals = self._spans.keys()
        self._compute_sets(nonterminals)

    def _find(self, root: str) -> list[str]:
        """The nonterminals reachable from `root`; adds the spans of the terminals that they use."""
        nonterminals, queue = [], [root]
        while queue:
            name = queue.pop()
            if name in self._starts or name in self._spans:
                continue
            if name in self._candidates:
                self._spans[name] = self._positions.span(self._rules[name], self._rules)
                continue
            nonterminals.append(name)
            self._starts[name], self._after[name] = (False, set()), set()
            queue += _uses(self._rules[name])
        return nonterminals

    def _compute_sets(self, nonterminals: Sequence[str]) -> None:
        """Compute the first and follow sets, each to its fixed point."""
        for update in (self._update_starts, self._update_next):
            before = None
            while before != (before := update(nonterminals)):
                pass

    def _update_starts(self, nonterminals: Sequence[str]) -> int:
        """One pass over the first sets; returns their total size."""
        for name in nonterminals:
            self._starts[name] = self._start(self._rules[name])
        return sum(len(first) + may_be_empty for may_be_empty, first in self._starts.values())

    def _update_next(self, nonterminals: Sequence[str]) -> int:
        """One pass over the follow sets; returns their total size."""
        for name in nonterminals:
            self._follow(self._rules[name], self._after[name])
        return sum(map(len, (*self._next.values(), *self._after.values())))

    def _leaf(self, node: Characters) -> int:
        if id(node) not in self._leaves:
            self._leaves[id(node)] = self._positions.add(node.ranges)
        return self._leaves[id(node)]

    def _start(self, node: Node) -> tuple[bool, set[int]]:
        self._work.spend()
        match node:
            case Characters():
                return False, {self._leaf(node)}
            case Use(rule) if rule in self._spans:
                return self._spans[rule].may_be_empty, self._spans[rule].first
            case Use(rule):
                return self._starts[rule]
            case Options(parts):
                starts = [self._start(part) for part in parts]
                return any(empty for empty, _ in starts), set().union(*(first for _, first in starts))
            case Series(parts):
                first: set[int] = set()
                for part in parts:
                    may_be_empty, begins = self._start(part)
                    first |= begins
                    if not may_be_empty:
                        return False, first
                return True, first
            case Repeated(part, may_be_none):
                may_be_empty, first = self._start(part)
                return may_be_empty or may_be_none, first

    def _follow(self, node: Node, after: set[int]) -> None:
        """Add `after`, the positions that may follow a part, to the follow sets of the lexemes at its end."""
        self._work.spend()
        match node:
            case Characters():
                self._next.setdefault(self._leaf(node), set()).update(after)
            case Use(rule) if rule in self._spans:
                for position in self._spans[rule].last:
                    self._next.setdefault(position, set()).update(after)
            case Use(rule):
                self._after[rule] |= after
            case Options(parts):
                for part in parts:
                    self._follow(part, after)
            case Series(parts):
                for part in reversed(parts):
                    self._follow(part, after)
                    may_be_empty, first = self._start(part)
                    after = after | first if may_be_empty else first
            case Repeated(part, _, may_be_more):
                self._follow(part, after | self._start(part)[1] if may_be_more else after)

    def unfit_terminal(self) -> str | None:
        """A terminal that continues where a lexeme may end and be followed by the same character; None if all fit."""
        positions = self._positions
        owner = {position: name for name, span in self._spans.items() for position in span.first}
        starts = [*owner, *self._leaves.values()]
        self._work.spend(len(starts) * len(owner))
        pairs = [
            (one, other, owner[other]) for one in starts for other in owner if positions.share_character(one, other)
        ]
        seen = set(pairs)
        while pairs:
            one, other, terminal = pairs.pop()
            follows = positions.follow[other]
            self._work.spend(1 + len(follows))
            if any(positions.share_first_byte(more, after) for after in self._next.get(one, ()) for more in follows):
                return terminal
            for pair in product(positions.follow[one], follows):
                if (*pair, terminal) not in seen and positions.share_character(*pair):
                    seen.add((*pair, terminal))
                    pairs.append((*pair, terminal))
        return None
