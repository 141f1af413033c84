"""Translate GBNF grammars to Lark, for llguidance.

Each character becomes a lexeme of its own, except in rules that can be terminals (gbnf_terminals.py): llguidance's
lexer takes the longest match, while GBNF has no lexer, so `[a-z]+ "b"` must also match "ab". llguidance's own converter
gets such rules wrong.
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
    terminals_of,
)

_TOKEN = re.compile(
    r"""(?P<space>\s+|\#[^\n]*)
      | (?P<string>"(?:[^"\\\n]|\\.)*")
      | (?P<class>\[(?:[^\]\\\n]|\\.)+\])
      | (?P<define>(?P<defined>[A-Za-z0-9_-]+)\s*::=)
      | (?P<name>[A-Za-z0-9_-]+)
      | (?P<times>[*+?]|\{\s*[0-9]+\s*(?:,\s*[0-9]*\s*)?\})
      | (?P<any>\.)
      | (?P<punctuation>[|()])""",
    re.VERBOSE,
)
_CHARACTER = re.compile(r"\\x([0-9a-fA-F]{2})|\\u([0-9a-fA-F]{4})|\\U([0-9a-fA-F]{8})|\\(.)|(.)", re.DOTALL)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\", "[": "[", "]": "]", "-": "-", "^": "^"}


_LAST = 0x10FFFF
_SURROGATES = (0xD800, 0xDFFF)
_MAX_DEPTH = 50


@dataclass(slots=True)
class _Rule:
    """The right side of `::=`."""

    texts: list[tuple[str, str]] = field(default_factory=list)
    """Its tokens translated to Lark, as (kind, text)."""
    nodes: list[Node] = field(default_factory=list)
    """The nodes of its names, strings, classes and dots, in order."""


def to_lark(gbnf: str, *, with_terminals: bool = True) -> str:
    """An equivalent Lark grammar, with `root` as `start`. Raises ValueError for invalid GBNF.

    Without terminals each character is a lexeme: matching is slower, and other limits of llguidance apply.
    """
    rules = _rules(gbnf)
    numbers = {name: number for number, name in enumerate(rules)}
    terminals = _terminals(rules) if with_terminals else frozenset()

    def lark_name(name: str, is_terminal: bool) -> str:
        return f"{'T' if is_terminal else 'r'}{numbers[name]}"

    lines: dict[str, str] = {}
    queue = [("root", "root" in terminals)]
    while queue:
        name, is_terminal = queue.pop()
        lark = lark_name(name, is_terminal)
        if lark in lines:
            continue
        line = f"{lark}:"
        for kind, text in rules[name].texts:
            if kind == "name":
                used = (text, is_terminal or text in terminals)
                queue.append(used)
                text = lark_name(*used)
            # `x*` may be repeated again, but Lark wants one repetition each.
            line += text if kind == "times" else f" {text}"
        lines[lark] = line
    return "\n".join([f"start: {next(iter(lines))}", *lines.values()])


def _terminals(rules: Mapping[str, _Rule]) -> frozenset[str]:
    if len(rules) > MAX_RULES:
        return frozenset()
    try:
        return terminals_of({name: _tree(rule) for name, rule in rules.items()}, "root")
    except ValueError:
        return frozenset()  # llguidance reports the error, or accepts the grammar as it is


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
    """A token translated to Lark, and its nodes."""
    match kind:
        case "name":
            return text, [Use(text)]
        case "string":
            codes = [code for code, _ in _characters(text[1:-1])]
            return _string(codes), [Series([Characters(((code, code),)) for code in codes])]
        case "class":
            ranges = _class(text[1:-1])
            return _class_regex(ranges), [Characters(ranges)]
        case "any":
            return "/(?s:.)/", [Characters(((0, _LAST),))]
    return text, []


def _tree(rule: _Rule) -> Node:
    """The rule as a tree. Raises ValueError for unbalanced parentheses, or a repetition without an item."""
    nodes = iter(rule.nodes)
    groups: list[list[list[Node]]] = [[[]]]
    for kind, text in rule.texts:
        if kind == "times":
            part = groups[-1][-1].pop() if groups[-1][-1] else None
            if part is None:
                raise ValueError("a repetition without an item")
            groups[-1][-1].append(Repeated(part, *_times(text)))
        elif text == "(" and kind == "punctuation":
            groups.append([[]])
            if len(groups) > _MAX_DEPTH:
                raise ValueError("parentheses nested too deep")
        elif text == "|" and kind == "punctuation":
            groups[-1].append([])
        elif text == ")" and kind == "punctuation":
            options = groups.pop()
            if not groups:
                raise ValueError("unbalanced parentheses")
            groups[-1][-1].append(_options(options))
        else:
            groups[-1][-1].append(next(nodes))
    if len(groups) > 1:
        raise ValueError("unbalanced parentheses")
    return _options(groups[0])


def _options(options: list[list[Node]]) -> Node:
    return Options([Series(parts) for parts in options])


def _times(text: str) -> tuple[bool, bool]:
    """Whether a repetition allows zero times, and more than one time."""
    if text in ("*", "+", "?"):
        return text != "+", text != "?"
    low, comma, high = (number.strip() for number in text[1:-1].partition(","))
    return int(low) == 0, (not comma and int(low) > 1) or (bool(comma) and (not high or int(high) > 1))


def _check(rules: Mapping[str, _Rule], used: set[str]) -> None:
    for name in ("root", *sorted(used)):
        if name not in rules:
            raise ValueError(f"There is no rule '{name}'" + (", and it is used" if name in used else ""))


def _tokens(gbnf: str) -> Iterator[tuple[str, str]]:
    position = 0
    while position < len(gbnf):
        found = _TOKEN.match(gbnf, position)
        if found is None:
            line = gbnf.count("\n", 0, position) + 1
            raise ValueError(f"Line {line} of the grammar has a syntax error at {gbnf[position : position + 20]!r}")
        position = found.end()
        kind = found.lastgroup or ""
        if kind != "space":
            yield kind, found["defined"] if kind == "define" else found[0]


def _string(codes: Sequence[int]) -> str:
    characters = [f"/{_escaped(code)}/" for code in codes]
    return f"({' '.join(characters)})" if characters else '""'


def _class(inner: str) -> Ranges:
    """Raises ValueError for a range that ends before it begins."""
    negated = inner.startswith("^") and len(inner) > 1
    items = list(_characters(inner[1:] if negated else inner))
    ranges: list[tuple[int, int]] = []
    index = 0
    while index < len(items):
        first = last = items[index][0]
        if items[index + 1 : index + 2] == [(ord("-"), True)] and index + 2 < len(items):
            last = items[index + 2][0]
            index += 2
        if last < first:
            raise ValueError(f"The class [{inner}] has a range that ends before it begins")
        ranges.append((first, last))
        index += 1
    return _complement(ranges) if negated else tuple(sorted(ranges))


def _complement(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """All other characters, without surrogates."""
    complement, begin = [], 0
    for first, last in sorted([*ranges, _SURROGATES, (_LAST + 1, _LAST + 1)]):
        if first > begin:
            complement.append((begin, first - 1))
        begin = max(begin, last + 1)
    return tuple(complement)


def _class_regex(ranges: Ranges) -> str:
    """A regex class of code points as numbers: regex engines differ in `[a&&b]` and `[[:alpha:]]`."""
    if not ranges:
        return "/[^\\x{0}-\\x{10ffff}]/"
    return f"/[{''.join(f'{_escaped(a)}-{_escaped(b)}' if a < b else _escaped(a) for a, b in ranges)}]/"


def _escaped(code: int) -> str:
    return f"\\x{{{code:x}}}"


def _characters(text: str) -> Iterator[tuple[int, bool]]:
    """Code points, each with whether it is written without an escape."""
    for found in _CHARACTER.finditer(text):
        two, four, eight, escaped, bare = found.groups()
        if bare:
            yield ord(bare), True
        elif escaped:
            if escaped not in _ESCAPES:
                raise ValueError(f"'\\{escaped}' is not an escape of GBNF")
            yield ord(_ESCAPES[escaped]), False
        else:
            code = int(two or four or eight, 16)
            if code > 0x10FFFF or 0xD800 <= code < 0xE000:
                raise ValueError(f"'{found[0]}' is not a character")
            yield code, False
