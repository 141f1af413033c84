"""Which rules of a GBNF grammar can be read by a lexer as words, which costs a tenth of reading characters.

A lexer takes the longest word that may stand at a place, and GBNF has none: its rules meet character by character. So
a rule that does not lead back to itself becomes a word only where that makes no difference: wherever some word or
character may end, no other one that began with it goes on with a character that may also follow the end. What follows
is gathered from the whole grammar, and a repetition that is counted is taken for one without end, so that a rule that
passes is a word, while one that does not might be. A grammar without recursion is one word.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

Ranges = tuple[tuple[int, int], ...]
"""Characters, as ascending code points from and to."""

MAX_RULES = 1000
_MAX_WORK = 200_000
"""Looks at a part of the grammar, or at a pair of places: half a second of work."""


@dataclass(frozen=True, slots=True)
class Characters:
    """One character."""

    ranges: Ranges


@dataclass(frozen=True, slots=True)
class Use:
    """A text of a rule."""

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


def words_of(rules: Mapping[str, Node], root: str) -> frozenset[str]:
    """The rules that become words where rules use them that are none; none for a grammar that is too large to tell.

    Of `MAX_RULES` at most.
    """
    try:
        plain = _without_recursion(rules)
        if root in plain:
            return frozenset({root})
        work = _Work()
        while True:
            reading = _Reading(rules, plain, root, work)
            unfit = reading.unfit_word()
            if unfit is None:
                return frozenset(reading.words)
            plain.remove(unfit)  # it is read character by character; what it uses may still be words
    except (_TooLarge, RecursionError):
        return frozenset()


def _without_recursion(rules: Mapping[str, Node]) -> set[str]:
    """The rules that lead to none that leads back to itself."""
    uses = {name: set(_uses(node)) for name, node in rules.items()}
    plain: set[str] = set()
    while found := {name for name, used in uses.items() if name not in plain and used <= plain}:
        plain |= found
    return plain


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
    """How a part of the grammar may begin and end, in places of `_Places`."""

    may_be_empty: bool
    first: set[int]
    last: set[int]


@dataclass(slots=True)
class _Places:
    """Each place where a character stands, and which places may follow it within the same word."""

    work: _Work
    ranges: list[Ranges] = field(default_factory=list)
    follow: list[set[int]] = field(default_factory=list)

    def add(self, ranges: Ranges) -> int:
        self.ranges.append(ranges)
        self.follow.append(set())
        return len(self.ranges) - 1

    def meet(self, one: int, other: int) -> bool:
        """Whether one character may stand at both."""
        return any(a <= d and c <= b for (a, b), (c, d) in product(self.ranges[one], self.ranges[other]))

    def may_seem_to_meet(self, one: int, other: int) -> bool:
        """Whether two characters may begin with the same byte, which is all that the lexer looks at."""
        return any(
            _lead(a) <= _lead(d) and _lead(c) <= _lead(b)
            for (a, b), (c, d) in product(self.ranges[one], self.ranges[other])
        )

    def span(self, node: Node, rules: Mapping[str, Node]) -> _Span:
        """A part of a word; the rules that it uses are parts of the word."""
        self.work.spend()
        match node:
            case Characters(ranges):
                place = self.add(ranges)
                return _Span(False, {place}, {place})
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
                whole = _Span(True, set(), set())
                for part in parts:
                    whole = self._joined(whole, self.span(part, rules))
                return whole
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

    def _connect(self, before: Collection[int], behind: set[int]) -> None:
        self.work.spend(len(before) * (1 + len(behind)))
        for place in before:
            self.follow[place] |= behind


def _lead(code: int) -> int:
    """The first byte of a character in UTF-8, that of surrogates included."""
    return chr(code).encode("utf-8", "surrogatepass")[0]


class _Reading:
    """A grammar of rules that are words, and of others, in which each character is a word of its own."""

    def __init__(self, rules: Mapping[str, Node], plain: Collection[str], root: str, work: _Work) -> None:
        self._work = work
        self._places = _Places(work)
        self._spans: dict[str, _Span] = {}
        """Of words, by their rules."""
        self._starts: dict[str, tuple[bool, set[int]]] = {}
        """Of the other rules: whether they may be empty, and the places that they may begin with."""
        self._next: dict[int, set[int]] = {}
        """What may follow a word that ends at a place."""
        self._leaves: dict[int, int] = {}
        self._rules = rules
        self._plain = plain
        self._behind: dict[str, set[int]] = {}
        others = self._find(root)
        self.words = self._spans.keys()
        self._settle(others)

    def _find(self, root: str) -> list[str]:
        """Give the rules that are no words, and read the words that they use."""
        others, queue = [], [root]
        while queue:
            name = queue.pop()
            if name in self._starts or name in self._spans:
                continue
            if name in self._plain:
                self._spans[name] = self._places.span(self._rules[name], self._rules)
                continue
            others.append(name)
            self._starts[name], self._behind[name] = (False, set()), set()
            queue += _uses(self._rules[name])
        return others

    def _settle(self, others: Sequence[str]) -> None:
        """Find out what begins and what follows, until nothing new comes to light."""
        for settle in (self._settle_starts, self._settle_next):
            before = None
            while before != (before := settle(others)):
                pass

    def _settle_starts(self, others: Sequence[str]) -> int:
        for name in others:
            self._starts[name] = self._start(self._rules[name])
        return sum(len(first) + may_be_empty for may_be_empty, first in self._starts.values())

    def _settle_next(self, others: Sequence[str]) -> int:
        for name in others:
            self._follow(self._rules[name], self._behind[name])
        return sum(map(len, (*self._next.values(), *self._behind.values())))

    def _leaf(self, node: Characters) -> int:
        if id(node) not in self._leaves:
            self._leaves[id(node)] = self._places.add(node.ranges)
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

    def _follow(self, node: Node, behind: set[int]) -> None:
        """Note what may follow the words in a part that these places may follow."""
        self._work.spend()
        match node:
            case Characters():
                self._next.setdefault(self._leaf(node), set()).update(behind)
            case Use(rule) if rule in self._spans:
                for place in self._spans[rule].last:
                    self._next.setdefault(place, set()).update(behind)
            case Use(rule):
                self._behind[rule] |= behind
            case Options(parts):
                for part in parts:
                    self._follow(part, behind)
            case Series(parts):
                for part in reversed(parts):
                    self._follow(part, behind)
                    may_be_empty, first = self._start(part)
                    behind = behind | first if may_be_empty else first
            case Repeated(part, _, may_be_more):
                self._follow(part, behind | self._start(part)[1] if may_be_more else behind)

    def unfit_word(self) -> str | None:
        """A word that goes on where another one, or itself, may end and be followed by the same character."""
        places = self._places
        owner = {place: name for name, span in self._spans.items() for place in span.first}
        starts = [*owner, *self._leaves.values()]
        self._work.spend(len(starts) * len(owner))
        pairs = [(one, other, owner[other]) for one in starts for other in owner if places.meet(one, other)]
        seen = set(pairs)
        while pairs:
            one, other, word = pairs.pop()
            follows = places.follow[other]
            self._work.spend(1 + len(follows))
            if any(places.may_seem_to_meet(more, behind) for behind in self._next.get(one, ()) for more in follows):
                return word
            for pair in product(places.follow[one], follows):
                if (*pair, word) not in seen and places.meet(*pair):
                    seen.add((*pair, word))
                    pairs.append((*pair, word))
        return None
