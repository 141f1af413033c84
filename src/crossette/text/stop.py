"""Find the first stop string in a text that arrives in pieces, wherever it is cut."""

from __future__ import annotations

from collections.abc import Sequence


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


def possible_start(text: str, stops: Sequence[str]) -> int:
    """The length of the longest end of `text` that begins a stop string."""
    longest = 0
    for stop in stops:
        for length in range(min(len(stop) - 1, len(text)), longest, -1):
            if text.endswith(stop[:length]):
                longest = length
                break
    return longest
