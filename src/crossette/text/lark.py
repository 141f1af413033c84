"""Pieces of grammars in the Lark that constraints are written in, where control tokens are not text."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

Marker = Callable[[str], int | None]
"""The id of a marker that the vocabulary has as one token; None where it is spelled with several."""

ANY = "/(?s:.*)/"
"""Any text, which never holds a control token."""


def spelled(text: str, markers: Iterable[str], marker: Marker) -> str:
    """A text as an expression: its markers as tokens where they are tokens, the rest letter for letter."""
    known = {name: token for name in markers if (token := marker(name)) is not None}
    if not known:
        return json.dumps(text, ensure_ascii=False) if text else '""'
    pattern = "|".join(map(re.escape, sorted(known, key=len, reverse=True)))
    pieces = [piece for piece in re.split(f"({pattern})", text) if piece]
    terms = [f"<[{known[piece]}]>" if piece in known else json.dumps(piece, ensure_ascii=False) for piece in pieces]
    return " ".join(terms) or '""'


def text_without(unwanted: Iterable[str], *, then: str = "") -> str:
    """An expression for a terminal: any text in which none of these stands, and behind it `then`, where it ends."""
    options = " | ".join(json.dumps(text, ensure_ascii=False) for text in [*unwanted, *filter(None, [then])])
    text = f"({ANY} & ~({ANY} ({options}) {ANY}))" if options else ANY
    return f"{text} {json.dumps(then, ensure_ascii=False)}" if then else text


def json_of(schema: Mapping[str, Any]) -> str:
    """An expression for JSON of an enforceable schema, which says itself how it is written."""
    return "%json " + json.dumps(schema, ensure_ascii=False)
