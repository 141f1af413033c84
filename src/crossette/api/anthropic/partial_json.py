"""JSON objects that were cut off: the values in them that are complete."""

from __future__ import annotations

import re
from collections import deque
from typing import Any

import msgspec

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|(?P<cut>".*)|[{}\[\],]', re.DOTALL)
_CLOSING = {"{": "}", "[": "]"}


def complete_values(text: str) -> str:
    """The JSON text of an object. If it was cut off: all values in it that are complete, and `{}` if none is.

    A number at the end may have gone on, so it is not complete.
    """
    if _is_object(text):
        return text
    open_brackets: list[str] = []
    ends: deque[tuple[int, str]] = deque(maxlen=2)
    """Where a value may end, with the brackets that are open there. Of two in a row, only one can follow a key."""
    for token in _TOKEN.finditer(text):
        if token["cut"]:
            break
        end, lexeme = token.end(), token[0]
        if lexeme in _CLOSING:
            open_brackets.append(_CLOSING[lexeme])
        elif lexeme in ("}", "]") and open_brackets:
            open_brackets.pop()
        elif lexeme == ",":
            end = token.start()
        ends.append((end, "".join(reversed(open_brackets))))
    return next((whole for end, closing in reversed(ends) if _is_object(whole := text[:end] + closing)), "{}")


def _is_object(text: str) -> bool:
    try:
        msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError):
        return False
    return True
