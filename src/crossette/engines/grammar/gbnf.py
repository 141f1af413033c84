"""GBNF in Lark's words, for llguidance.

Every character becomes a lexeme of its own, but in rules that can be read as words (gbnf_words.py): llguidance's lexer
takes the longest match, and GBNF has no lexer, so that `[a-z]+ "b"` must also match "ab". What its own converter makes
of such a rule does not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from crossette.engines.grammar.gbnf_terminals import (
    MAX_RULES,
    Characters,
    Node,
    Options,
    Ranges,
    Repeated,
    Series,
    Use,
    words_of,
)

_TOKEN = re.compile(
    r"""(?P<space>\s+|\#[^\n]*)
      | (?P<string>"(?:[^"\\\n]|\\.)*")
      | (?P<class>\[(?:[^\]\\\n]|\\.)+\])
      | (?P<define>(?P<defined>[A-Za-z0-9_-]+)\s*::=)
      | (?P<name>[A-Za-z0-9_-]+)
      | (?P<times>[*+?]|\{\s*[0-9]+\s*(?:,\s*[0-9]*\s*)?\})
      | (?P<any>\.)
      | (?P<mark>[|()])""",
    re.VERBOSE,
)
_CHARACTER = re.compile(r"\\x([0-9a-fA-F]{2})|\\u([0-9a-fA-F]{4})|\\U([0-9a-fA-F]{8})|\\(.)|(.)", re.DOTALL)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\", "[": "[", "]": "]", "-": "-", "^": "^"}


_LAST = 0x10FFFF
_SURROGATES = (0xD800, 0xDFFF)
_MAX_DEPTH = 50


@dataclass(slots=True)
class _Rule:
    """What stands behind `::=`."""

    texts: list[tuple[str, str]] = field(default_factory=list)
    """Its tokens as Lark, each with its kind."""
    nodes: list[Node] = field(default_factory=list)
    """What its names, strings, classes and dots stand for, in order."""


def to_lark(gbnf: str, *, with_words: bool = True) -> str:
    """The same grammar, with `root` as `start`. Raises ValueError for what is no GBNF.

    Without words it is matched in another way, which is slower, and has other limits.
    """
    rules = _rules(gbnf)
    numbers = {name: number for number, name in enumerate(rules)}
    words = _words(rules) if with_words else frozenset()

    def lark_name(name: str, is_word: bool) -> str:
        return f"{'W' if is_word else 'r'}{numbers[name]}"

    lines: dict[str, str] = {}
    queue = [("root", "root" in words)]
    while queue:
        name, is_word = queue.pop()
        lark = lark_name(name, is_word)
        if lark in lines:
            continue
        line = f"{lark}:"
        for kind, text in rules[name].texts:
            if kind == "name":
                used = (text, is_word or text in words)
                queue.append(used)
                text = lark_name(*used)
            # `x*` may be repeated again, but Lark wants one repetition each.
            line += text if kind == "times" else f" {text}"
        lines[lark] = line
    return "\n".join([f"start: {next(iter(lines))}", *lines.values()])


def _words(rules: Mapping[str, _Rule]) -> frozenset[str]:
    if len(rules) > MAX_RULES:
        return frozenset()
    try:
        return words_of({name: _tree(rule) for name, rule in rules.items()}, "root")
    except ValueError:
        return frozenset()  # the grammar's compiler says what is wrong with it, or takes it as it is


def _rules(gbnf: str) -> dict[str, _Rule]:
    rules: dict[str, _Rule] = {}
    used: set[str] = set()
    rule: _Rule | None = None
    for kind, text in _tokens(gbnf):
        if kind == "define":
            if text in rules:
                raise ValueError(f"The rule '{text}' is defined twice")
            rule = rules[text] = _Rule()
            continue
        if rule is None:
            raise ValueError(f"The grammar begins with {text!r}, not with a rule like 'root ::= …'")
        lark, nodes = _read(kind, text)
        rule.texts.append((kind, lark))
        rule.nodes += nodes
        used |= {text} if kind == "name" else set()
    _check(rules, used)
    return rules


def _read(kind: str, text: str) -> tuple[str, list[Node]]:
    """A token as Lark, and what it stands for."""
    match kind:
        case "name":
            return text, [Use(text)]
        case "string":
            codes = [code for code, _ in _characters(text[1:-1])]
            return _string(codes), [Series([Characters(((code, code),)) for code in codes])]
        case "class":
            ranges = _class(text[1:-1])
            return _written(ranges), [Characters(ranges)]
        case "any":
            return "/(?s:.)/", [Characters(((0, _LAST),))]
    return text, []


def _tree(rule: _Rule) -> Node:
    """Raises ValueError for parentheses without a partner, or a repetition of nothing."""
    nodes = iter(rule.nodes)
    groups: list[list[list[Node]]] = [[[]]]
    for kind, text in rule.texts:
        if kind == "times":
            part = groups[-1][-1].pop() if groups[-1][-1] else None
            if part is None:
                raise ValueError("a repetition of nothing")
            groups[-1][-1].append(Repeated(part, *_times(text)))
        elif text == "(" and kind == "mark":
            groups.append([[]])
            if len(groups) > _MAX_DEPTH:
                raise ValueError("too many parentheses in one another")
        elif text == "|" and kind == "mark":
            groups[-1].append([])
        elif text == ")" and kind == "mark":
            options = groups.pop()
            if not groups:
                raise ValueError("a parenthesis without a partner")
            groups[-1][-1].append(_options(options))
        else:
            groups[-1][-1].append(next(nodes))
    if len(groups) > 1:
        raise ValueError("a parenthesis without a partner")
    return _options(groups[0])


def _options(options: list[list[Node]]) -> Node:
    return Options([Series(parts) for parts in options])


def _times(text: str) -> tuple[bool, bool]:
    """Whether it may be no time, and more than one time."""
    if text in ("*", "+", "?"):
        return text != "+", text != "?"
    low, comma, high = (number.strip() for number in text[1:-1].partition(","))
    return int(low) == 0, (not comma and int(low) > 1) or (bool(comma) and (not high or int(high) > 1))


def _check(rules: Mapping[str, _Rule], used: set[str]) -> None:
    for name in ("root", *sorted(used)):
        if name not in rules:
            raise ValueError(f"There is no rule '{name}'" + (", and it is used" if name in used else ""))


def _tokens(gbnf: str) -> Iterator[tuple[str, str]]:
    place = 0
    while place < len(gbnf):
        found = _TOKEN.match(gbnf, place)
        if found is None:
            line = gbnf.count("\n", 0, place) + 1
            raise ValueError(f"Line {line} of the grammar has {gbnf[place : place + 20]!r} where no rule can have it")
        place = found.end()
        kind = found.lastgroup or ""
        if kind != "space":
            yield kind, found["defined"] if kind == "define" else found[0]


def _string(codes: Sequence[int]) -> str:
    characters = [f"/{_plain(code)}/" for code in codes]
    return f"({' '.join(characters)})" if characters else '""'


def _class(inner: str) -> Ranges:
    """Raises ValueError for a range that ends before it begins."""
    negated = inner.startswith("^") and len(inner) > 1
    items = list(_characters(inner[1:] if negated else inner))
    ranges: list[tuple[int, int]] = []
    place = 0
    while place < len(items):
        first = last = items[place][0]
        if items[place + 1 : place + 2] == [(ord("-"), True)] and place + 2 < len(items):
            last = items[place + 2][0]
            place += 2
        if last < first:
            raise ValueError(f"The class [{inner}] has a range that ends before it begins")
        ranges.append((first, last))
        place += 1
    return _others(ranges) if negated else tuple(sorted(ranges))


def _others(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """All other characters."""
    others, begin = [], 0
    for first, last in sorted([*ranges, _SURROGATES, (_LAST + 1, _LAST + 1)]):
        if first > begin:
            others.append((begin, first - 1))
        begin = max(begin, last + 1)
    return tuple(others)


def _written(ranges: Ranges) -> str:
    """Written in numbers: what `[a&&b]` or `[[:alpha:]]` means is not the same everywhere."""
    if not ranges:
        return "/[^\\x{0}-\\x{10ffff}]/"
    return f"/[{''.join(f'{_plain(a)}-{_plain(b)}' if a < b else _plain(a) for a, b in ranges)}]/"


def _plain(code: int) -> str:
    return f"\\x{{{code:x}}}"


def _characters(text: str) -> Iterator[tuple[int, bool]]:
    """Code points, and whether each stands there without an escape."""
    for found in _CHARACTER.finditer(text):
        two, four, eight, escaped, bare = found.groups()
        if bare:
            yield ord(bare), True
        elif escaped:
            if escaped not in _ESCAPES:
                raise ValueError(f"'\\{escaped}' is no escape of GBNF")
            yield ord(_ESCAPES[escaped]), False
        else:
            code = int(two or four or eight, 16)
            if code > 0x10FFFF or 0xD800 <= code < 0xE000:
                raise ValueError(f"'{found[0]}' is no character")
            yield code, False
