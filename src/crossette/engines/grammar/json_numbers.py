"""Bound the length of JSON numbers: small models may otherwise generate digits endlessly."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

_LONG = re.compile(rb"(?:[eE][+-]?\d\d|\d{20})\Z")
"""Allows every 64-bit integer and all digits of a double; every JSON parser reads two-digit exponents."""
_TAIL = 24
"""Bytes of text that are kept to detect a long number."""


class NumberTokens:
    """The tokens of a vocabulary that matter for numbers."""

    def __init__(self, texts: Sequence[bytes]) -> None:
        self.texts = texts
        self.digits: npt.NDArray[np.bool_] = np.array([text[:1].isdigit() for text in texts])
        """`[vocabulary]`: the tokens that begin with a digit."""
        self._non_numbers = [texts.index(text) for text in (b"a", b'"') if text in texts]

    def is_number(self, allowed: npt.NDArray[np.bool_]) -> bool:
        """Whether digits belong to a number, and not to a string or free text, which allow letters or quotes too."""
        return len(self._non_numbers) == 2 and not allowed[self._non_numbers].any()


class NumberEnds:
    """Tracks one sequence, and masks digits where a number has become too long."""

    def __init__(self, tokens: NumberTokens) -> None:
        self._tokens = tokens
        self._tail = b""

    def accept_token(self, token: int) -> None:
        self._tail = (self._tail + self._tokens.texts[token])[-_TAIL:]

    def narrowed(self, allowed: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """The mask, without digits if the number is too long and anything else is allowed."""
        if _LONG.search(self._tail) is None or not self._tokens.is_number(allowed):
            return allowed
        rest = allowed & ~self._tokens.digits
        return rest if rest.any() else allowed
