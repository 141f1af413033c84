"""Parsers for numbers in the notation of JSON.

`int` and `float` accept more: blanks, signs, `1_0` and the digits of every script. Such input is rejected here.
"""

from __future__ import annotations

import math
import re
from typing import Final

_INTEGER: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,18})")
"""At most 19 digits: a 64-bit integer."""
_DECIMAL: Final = re.compile(r"-?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")


def parse_integer(text: str) -> int:
    """Parse an integer. Raises ValueError for other text and for leading zeros, which may mean octal digits."""
    if not _INTEGER.fullmatch(text):
        raise ValueError(f"{text!r} is not an integer of up to 19 digits")
    return int(text)


def parse_count(text: str) -> int:
    """Parse an integer that is not negative. Raises ValueError."""
    if text.startswith("-"):
        raise ValueError(f"{text!r} is negative")
    return parse_integer(text)


def parse_decimal(text: str) -> float:
    """Parse a finite number; `.5` is allowed. Raises ValueError."""
    number = float(text) if _DECIMAL.fullmatch(text) else math.nan
    if not math.isfinite(number):
        raise ValueError(f"{text!r} is not a number")
    return number
