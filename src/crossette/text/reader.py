"""Incremental reader of text that arrives in pieces.

A parser is a generator: it yields the pieces that it has read, and None where it needs more text. So the result
depends on the text alone, never on where it is cut.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeAlias, TypeVar

from crossette.text.pieces import Piece

T = TypeVar("T")
Reading: TypeAlias = Generator[Piece | None, None, T]

SPACE = " \t\r\n"


class Malformed(Exception):
    """The text is not what its beginning suggested. `Reader.go_back` returns to the text that is still pending."""


class Reader:
    """A buffer of text with the position of its parser."""

    def __init__(self) -> None:
        self.ended = False
        self._text = ""
        self._num_dropped = 0
        self._at = 0
        self._held: int | None = None

    def push(self, text: str) -> None:
        done = self._at if self._held is None else self._held
        self._text = self._text[done:] + text
        self._num_dropped += done
        self._at -= done
        self._held = None if self._held is None else 0

    def take(self, length: int) -> str:
        """Read the next characters."""
        text = self._text[self._at : self._at + length]
        self._at += length
        return text

    @property
    def position(self) -> int:
        """The number of characters that were read and will not be read again."""
        return self._num_dropped + (self._at if self._held is None else self._held)

    @property
    def pending(self) -> str:
        """All text that has arrived and is unread, or may be read again."""
        return self._text[self._at if self._held is None else self._held :]

    def drop(self, length: int) -> None:
        """Discard all but the first `length` characters of the pending text."""
        self._text = self._text[: len(self._text) - len(self.pending) + length]
        self._at = min(self._at, len(self._text))

    @property
    def ahead(self) -> str:
        """All text that has arrived and is unread."""
        return self._text[self._at :]

    # --- backtracking ---

    def hold(self) -> None:
        """Keep the text from here on pending, so that it can be read again."""
        self._held = self._at

    def release(self) -> None:
        """Stop holding: the text up to here was emitted."""
        self._held = None

    def go_back(self) -> None:
        """Return to the start of the held text, if any is held."""
        self._at = self._at if self._held is None else self._held
        self._held = None

    # --- reading, which waits for more text where it needs it ---

    def peek(self) -> Reading[str]:
        """Return the next character without taking it; "" at the end."""
        while self._at == len(self._text) and not self.ended:
            yield None
        return self._text[self._at : self._at + 1]

    def space(self) -> Reading[None]:
        """Skip white space."""
        while (character := (yield from self.peek())) and character in SPACE:
            self._at += 1

    def expect(self, *options: str, cut: bool = False) -> Reading[str | None]:
        """Take the option that comes next, the longest if several match. Return None, and take nothing, if none does.

        `cut` also accepts the beginning of an option that the end of the text cuts off.
        """
        while True:
            rest = len(self._text) - self._at
            partial = [option for option in options if rest < len(option) and option.startswith(self.ahead)]
            if partial and not self.ended:
                yield None
                continue
            if partial and cut and rest:
                self._at = len(self._text)
                return partial[0]
            found = max((o for o in options if self._text.startswith(o, self._at)), key=len, default=None)
            self._at += len(found or "")
            return found

    def need(self, *options: str, cut: bool = False) -> Reading[str]:
        """Take one of the options, as `expect` does. Raises Malformed if none comes next."""
        found = yield from self.expect(*options, cut=cut)
        if found is None:
            raise Malformed
        return found

    def until(self, characters: str, limit: int) -> Reading[str]:
        """Take the text up to one of these characters. Raises Malformed if none comes within `limit`."""
        length = 0
        while True:
            while self._at + length < len(self._text):
                if self._text[self._at + length] in characters:
                    return self.take(length)
                length += 1
            if self.ended or length > limit:
                raise Malformed
            yield None
