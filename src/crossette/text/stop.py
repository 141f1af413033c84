"""Find the first stop string in a text that arrives in pieces, wherever it is cut."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from crossette.text.pieces import Content, Piece


class StopChecker:
    """Holds back what may become a stop string, and nothing else.

    The stop that is complete first wins; of those complete at the same character, the longest. So the result is
    that of reading the text character by character, whatever the pieces.
    """

    def __init__(self, stops: Sequence[str], *, include: bool) -> None:
        self._stops = tuple(stop for stop in stops if stop)
        self._include = include
        self._held = ""
        self.stopped = False

    def push(self, text: str) -> str:
        """The text that is certain now. After a stop was found, `stopped` is true and nothing more comes."""
        if not self._stops or self.stopped:
            return "" if self.stopped else text
        text = self._held + text
        found = self._first(text)
        if found is not None:
            self.stopped, self._held = True, ""
            begin, end = found
            return text[: end if self._include else begin]
        certain = len(text) - possible_start(text, self._stops)
        self._held = text[certain:]
        return text[:certain]

    def flush(self) -> str:
        """What was held back, at the end of the text."""
        held, self._held = self._held, ""
        return held

    def _first(self, text: str) -> tuple[int, int] | None:
        """Where the winning stop begins and ends."""
        matches = [(at + len(stop), at) for stop in self._stops if (at := text.find(stop)) >= 0]
        if not matches:
            return None
        end, begin = min(matches)
        return begin, end


class ContentStops:
    """Looks for stop strings in the content of an output. In thoughts and calls they are words like others."""

    def __init__(self, checker: StopChecker) -> None:
        self._checker = checker
        self._held: deque[Content] = deque()
        self._end = 0

    @property
    def stopped(self) -> bool:
        return self._checker.stopped

    def certain(self, position: int) -> int:
        """How many of the first `position` characters of the model's text can be released."""
        if self._held:
            return self._held[0].begin
        return self._end if self.stopped else position

    def push(self, piece: Piece) -> list[Piece]:
        """What is certain now. A stop string does not reach over a thought or a call."""
        if self.stopped:
            return []
        if not isinstance(piece, Content):
            return [*self.flush(), piece]
        self._held.append(piece)
        released = self._release(len(self._checker.push(piece.text)))
        if self.stopped:
            self._end = self.certain(self._end)
            self._held.clear()
        return released

    def flush(self) -> list[Piece]:
        """What was held back, at the end of the output."""
        return self._release(len(self._checker.flush()))

    def _release(self, length: int) -> list[Piece]:
        """The first characters of what is held."""
        released: list[Piece] = []
        while length and self._held:
            piece = self._held.popleft()
            if len(piece.text) > length:
                self._held.appendleft(Content(piece.text[length:], piece.begin + length))
                piece = Content(piece.text[:length], piece.begin)
            released.append(piece)
            length -= len(piece.text)
            self._end = piece.begin + len(piece.text)
        return released


def possible_start(text: str, stops: Sequence[str]) -> int:
    """The length of the longest end of `text` that begins a stop string."""
    longest = 0
    for stop in stops:
        for length in range(min(len(stop) - 1, len(text)), longest, -1):
            if text.endswith(stop[:length]):
                longest = length
                break
    return longest
