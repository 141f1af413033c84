"""Building blocks of Lark grammars in which control tokens are not text."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

MarkerId = Callable[[str], int | None]
"""The token id of a marker that is a single token of the vocabulary; None for a marker that is several tokens."""

ANY = "/(?s:.*)/"
"""Any text. It never contains a control token."""


def literal(text: str, markers: Iterable[str], marker_id: MarkerId) -> str:
    """A text as a Lark expression: markers that are single tokens by id, the rest as string literals."""
    known = {name: token for name in markers if (token := marker_id(name)) is not None}
    if not known:
        return json.dumps(text, ensure_ascii=False) if text else '""'
    pattern = "|".join(map(re.escape, sorted(known, key=len, reverse=True)))
    pieces = [piece for piece in re.split(f"({pattern})", text) if piece]
    terms = [f"<[{known[piece]}]>" if piece in known else json.dumps(piece, ensure_ascii=False) for piece in pieces]
    return " ".join(terms) or '""'


def text_without(excluded: Iterable[str], *, then: str = "") -> str:
    """A terminal's expression: any text that contains none of these strings, up to and including `then`."""
    options = " | ".join(json.dumps(text, ensure_ascii=False) for text in [*excluded, *filter(None, [then])])
    text = f"({ANY} & ~({ANY} ({options}) {ANY}))" if options else ANY
    return f"{text} {json.dumps(then, ensure_ascii=False)}" if then else text


def json_of(schema: Mapping[str, Any]) -> str:
    """An expression for JSON of an enforceable schema, which itself defines the notation."""
    return "%json " + json.dumps(schema, ensure_ascii=False)
