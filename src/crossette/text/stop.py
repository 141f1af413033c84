"""Stop strings in text that arrives in pieces."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from crossette.text.pieces import Content, Piece


class StopChecker:
    """Holds back text that may become a stop string, and nothing else.

    The stop string that is complete first wins; of several complete at the same character, the longest. So the result
    is that of reading the text character by character, wherever it is cut.
    """

    def __init__(self, stops: Sequence[str], *, include: bool) -> None:
        self._stops = tuple(stop for stop in stops if stop)
        self.is_idle = not self._stops
        """Whether there are no stop strings."""
        self._include = include
        self._held = ""
        self.matched: str | None = None
        """The stop string that ended the text."""
        self.stopped = False

    def push(self, text: str) -> str:
        """Return the text that is certain now: none once `stopped` is true."""
        if not self._stops or self.stopped:
            return "" if self.stopped else text
        text = self._held + text
        match = self._first(text)
        if match is not None:
            begin, end = match
            self.matched, self._held, self.stopped = text[begin:end], "", True
            return text[: end if self._include else begin]
        certain = len(text) - possible_start(text, self._stops)
        self._held = text[certain:]
        return text[:certain]

    def flush(self) -> str:
        """Return the text that was held back, at the end of the text."""
        held, self._held = self._held, ""
        return held

    def _first(self, text: str) -> tuple[int, int] | None:
        """Where the first stop string begins and ends."""
        matches = [(at + len(stop), at) for stop in self._stops if (at := text.find(stop)) >= 0]
        if not matches:
            return None
        end, begin = min(matches)
        return begin, end


class ContentStops:
    """Looks for stop strings in the content of an output. Reasoning and tool calls are not searched."""

    def __init__(self, checker: StopChecker) -> None:
        self._checker = checker
        self._held: deque[Content] = deque()
        self._end = 0
        self.stopped = False

    @property
    def is_idle(self) -> bool:
        """Whether there are no stop strings."""
        return self._checker.is_idle

    @property
    def matched(self) -> str | None:
        """The stop string that ended the output."""
        return self._checker.matched

    def certain(self, position: int) -> int:
        """Return how many of the first `position` characters of the model's text can be released."""
        if self._held:
            return self._held[0].begin
        return self._end if self.stopped else position

    def push(self, piece: Piece) -> list[Piece]:
        """Return the pieces that are certain now. A stop string does not span reasoning or a call."""
        if self._checker.is_idle:
            return [piece]
        if self.stopped:
            return []
        if not isinstance(piece, Content):
            return [*self.flush(), piece]
        self._held.append(piece)
        released = self._release(len(self._checker.push(piece.text)))
        self.stopped = self._checker.stopped
        if self.stopped:
            self._end = self.certain(self._end)
            self._held.clear()
        return released

    def flush(self) -> list[Piece]:
        """Return the pieces that were held back, at the end of the output."""
        return self._release(len(self._checker.flush()))

    def _release(self, length: int) -> list[Piece]:
        """Return the first `length` characters of the pieces that are held back."""
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
    """The length of the longest suffix of `text` that is a proper prefix of a stop string."""
    longest = 0
    for stop in stops:
        for length in range(min(len(stop) - 1, len(text)), longest, -1):
            if text.endswith(stop[:length]):
                longest = length
                break
    return longest
