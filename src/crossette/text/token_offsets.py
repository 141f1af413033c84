"""The tokens of a text that is released piece by piece, with their offsets."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from crossette.types import Logprob


@dataclass(frozen=True, slots=True)
class TokenText:
    """A token of an answer and its offset in the answer's text."""

    id: int
    data: bytes
    """Its bytes; of a control token, the bytes of its name."""
    offset: int
    """Offset of the character that contains its first byte."""
    logprob: Logprob | None = None
    """None if it was not requested, and for the first token of the prompt, which has no context."""
    time: float | None = None
    """Seconds from the start of the answer until the token came; None for a token that the request has."""
    is_accepted_draft: bool = False


class Trace:
    """Holds tokens back until the character that they begin with is released."""

    def __init__(self) -> None:
        self._held: deque[TokenText] = deque()

    def push(self, token: TokenText) -> None:
        self._held.append(token)

    def release(self, end: int) -> tuple[TokenText, ...]:
        """Return the tokens that begin before character `end` and were not released before."""
        released = []
        while self._held and self._held[0].offset < end:
            released.append(self._held.popleft())
        return tuple(released)

    def flush(self) -> tuple[TokenText, ...]:
        """Return all tokens that were held back, at the end of a text that no stop string cut."""
        held = tuple(self._held)
        self._held.clear()
        return held
