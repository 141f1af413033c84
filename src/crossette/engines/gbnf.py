"""GBNF in Lark's words, for llguidance.

Every character becomes a lexeme of its own: llguidance's lexer takes the longest match, and GBNF has no lexer, so
that `[a-z]+ "b"` must also match "ab". What its own converter makes of such a rule does not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_TOKEN = re.compile(
    r"""(?P<space>\s+|\#[^\n]*)
      | (?P<string>"(?:[^"\\\n]|\\.)*")
      | (?P<class>\[(?:[^\]\\\n]|\\.)+\])
      | (?P<define>(?P<defined>[A-Za-z0-9_-]+)\s*::=)
      | (?P<name>[A-Za-z0-9_-]+)
      | (?P<times>[*+?]|\{\s*\d+\s*(?:,\s*\d*\s*)?\})
      | (?P<any>\.)
      | (?P<mark>[|()])""",
    re.VERBOSE,
)
_CHARACTER = re.compile(r"\\x([0-9a-fA-F]{2})|\\u([0-9a-fA-F]{4})|\\U([0-9a-fA-F]{8})|\\(.)|(.)", re.DOTALL)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\", "[": "[", "]": "]", "-": "-", "^": "^"}


def to_lark(gbnf: str) -> str:
    """The same grammar, with `root` as `start`. Raises ValueError for what is no GBNF."""
    names: dict[str, str] = {"root": "start"}
    used, lines = set(), []
    for kind, text in _tokens(gbnf):
        match kind:
            case "define":
                lines.append(f"{names.setdefault(text, f'r{len(names)}')}: ")
                continue
            case "name":
                used.add(text)
                text = names.setdefault(text, f"r{len(names)}")
            case "string":
                text = _string(text[1:-1])
            case "class":
                text = _class(text[1:-1])
            case "any":
                text = "/(?s:.)/"
        if not lines:
            raise ValueError(f"The grammar begins with {text!r}, not with a rule like 'root ::= …'")
        # `x*` may be repeated again, but Lark wants one repetition each.
        lines[-1] = f"{lines[-1]}{text}" if kind == "times" else f"{lines[-1]} {text}"
    defined = [line.partition(":")[0] for line in lines]
    _check(names, defined, used)
    return "\n".join(lines)


def _check(names: dict[str, str], defined: list[str], used: set[str]) -> None:
    for name, lark in names.items():
        if defined.count(lark) > 1:
            raise ValueError(f"The rule '{name}' is defined twice")
        if lark not in defined:
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


def _string(inner: str) -> str:
    characters = [f"/{_plain(code)}/" for code, _ in _characters(inner)]
    return f"({' '.join(characters)})" if characters else '""'


def _class(inner: str) -> str:
    """Written in numbers: what `[a&&b]` or `[[:alpha:]]` means is not the same everywhere."""
    negated = inner.startswith("^") and len(inner) > 1
    items = [
        "-" if bare and code == ord("-") else _plain(code)
        for code, bare in _characters(inner[1:] if negated else inner)
    ]
    for edge in (0, -1):
        if items[edge] == "-":
            items[edge] = _plain(ord("-"))
    return f"/[{'^' if negated else ''}{''.join(items)}]/"


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
