"""Which tokens stand behind a text that is released piece by piece."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from crossette.types import Logprob


@dataclass(frozen=True, slots=True)
class TokenText:
    """A token of an answer, and where it begins in the answer's text."""

    id: int
    data: bytes
    """Its bytes, or the spelling of a control token."""
    offset: int
    """The character in which its first byte stands."""
    logprob: Logprob | None = None
    """None where it was not asked for, and for the first token of all: nothing comes before it."""


class Trace:
    """Holds tokens back until the character they begin with is released."""

    def __init__(self) -> None:
        self._held: deque[TokenText] = deque()

    def push(self, token: TokenText) -> None:
        self._held.append(token)

    def release(self, end: int) -> tuple[TokenText, ...]:
        """The tokens that begin before character `end`, and were not released before."""
        released = []
        while self._held and self._held[0].offset < end:
            released.append(self._held.popleft())
        return tuple(released)

    def flush(self) -> tuple[TokenText, ...]:
        """All that was held back: at the end of a text that no stop string cut."""
        held = tuple(self._held)
        self._held.clear()
        return held
