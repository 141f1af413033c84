"""Numbers that come as text, read as JSON writes them.

`int` and `float` take more: blanks, signs, `1_0` and the digits of every script. Whoever sends such a text meant
something else, or is told so.
"""

from __future__ import annotations

import math
import re
from typing import Final

_WHOLE: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,18})")
"""Nothing is counted in more digits."""
_DECIMAL: Final = re.compile(r"-?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")


def parse_whole(text: str) -> int:
    """Raises ValueError for what is no whole number, and for one with a leading zero, which may mean octal digits."""
    if not _WHOLE.fullmatch(text):
        raise ValueError(f"{text!r} is no whole number of up to 19 digits")
    return int(text)


def parse_count(text: str) -> int:
    """A whole number that is not negative. Raises ValueError."""
    if text.startswith("-"):
        raise ValueError(f"{text!r} is no count")
    return parse_whole(text)


def parse_decimal(text: str) -> float:
    """A finite number; `.5` is one as well. Raises ValueError."""
    number = float(text) if _DECIMAL.fullmatch(text) else math.nan
    if not math.isfinite(number):
        raise ValueError(f"{text!r} is no number")
    return number
