"""Numbers of JSON that come to an end: small models write digits, as they write white space, without end."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

_LONG = re.compile(rb"(?:[eE][+-]?\d\d|\d{20})\Z")
"""Enough for every integer of 64 bits and the digits of every double; exponents of two digits suit every reader."""
_TAIL = 24
"""Bytes in which a long number shows."""


class NumberTokens:
    """What a vocabulary's tokens have to do with numbers."""

    def __init__(self, spellings: Sequence[bytes]) -> None:
        self.spellings = spellings
        self.digits: npt.NDArray[np.bool_] = np.array([spelling[:1].isdigit() for spelling in spellings])
        """`[vocabulary]`: those that begin with a digit."""
        self._words = [spellings.index(word) for word in (b"a", b'"') if word in spellings]

    def is_number(self, allowed: npt.NDArray[np.bool_]) -> bool:
        """Whether digits are those of a number, and not of a string or of free text, where words may follow too."""
        return len(self._words) == 2 and not allowed[self._words].any()


class NumberEnds:
    """Watches one sequence, and takes the digits from its mask where a number has gone on for too long."""

    def __init__(self, tokens: NumberTokens) -> None:
        self._tokens = tokens
        self._tail = b""

    def accept_token(self, token: int) -> None:
        self._tail = (self._tail + self._tokens.spellings[token])[-_TAIL:]

    def narrowed(self, allowed: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """The mask, without digits if there have been enough and anything else is allowed."""
        if _LONG.search(self._tail) is None or not self._tokens.is_number(allowed):
            return allowed
        rest = allowed & ~self._tokens.digits
        return rest if rest.any() else allowed
