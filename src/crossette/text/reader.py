"""Text that arrives in pieces, for parsers that are written as if they had all of it.

A parser is a generator: it yields what it has read, and None where it needs more text. So what it finds depends on
the text alone, never on where it was cut.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeAlias, TypeVar

from crossette.text.pieces import Piece

T = TypeVar("T")
Reading: TypeAlias = Generator[Piece | None, None, T]

SPACE = " \t\r\n"


class Malformed(Exception):
    """The text is not what it seemed to begin; `Reader.go_back` returns to what has not been accounted for."""


class Reader:
    """The text from the place that a parser has come to."""

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
        text = self._text[self._at : self._at + length]
        self._at += length
        return text

    @property
    def position(self) -> int:
        """How many characters were read, and will not be read again."""
        return self._num_dropped + (self._at if self._held is None else self._held)

    @property
    def unsaid(self) -> str:
        """All that has arrived and may be read again, or is not read."""
        return self._text[self._at if self._held is None else self._held :]

    def drop(self, length: int) -> None:
        """Forget all but the first characters of what is unsaid."""
        self._text = self._text[: len(self._text) - len(self.unsaid) + length]
        self._at = min(self._at, len(self._text))

    @property
    def ahead(self) -> str:
        """All that has arrived and is not read."""
        return self._text[self._at :]

    # --- what may turn out to be something else ---

    def hold(self) -> None:
        """Note that the text from here on has not been said yet."""
        self._held = self._at

    def release(self) -> None:
        """Note that the text up to here has been said."""
        self._held = None

    def go_back(self) -> None:
        """To where the text has not been said yet: that noted last, else here."""
        self._at = self._at if self._held is None else self._held
        self._held = None

    # --- reading, waiting for more where it needs it ---

    def peek(self) -> Reading[str]:
        """The next character, not taken; "" at the end."""
        while self._at == len(self._text) and not self.ended:
            yield None
        return self._text[self._at : self._at + 1]

    def space(self) -> Reading[None]:
        """Take white space, if there is any."""
        while (character := (yield from self.peek())) and character in SPACE:
            self._at += 1

    def expect(self, *options: str, cut: bool = False) -> Reading[str | None]:
        """Take the option that stands next, the longest if several do; None, with nothing taken, where none does.

        `cut` also takes the beginning of an option that the end of the text cuts off.
        """
        while True:
            rest = len(self._text) - self._at
            begun = [option for option in options if rest < len(option) and option.startswith(self.ahead)]
            if begun and not self.ended:
                yield None
                continue
            if begun and cut and rest:
                self._at = len(self._text)
                return begun[0]
            found = max((o for o in options if self._text.startswith(o, self._at)), key=len, default=None)
            self._at += len(found or "")
            return found

    def need(self, *options: str, cut: bool = False) -> Reading[str]:
        """`expect`, where nothing else can follow: raises Malformed."""
        found = yield from self.expect(*options, cut=cut)
        if found is None:
            raise Malformed
        return found

    def until(self, characters: str, limit: int) -> Reading[str]:
        """Take the text up to one of these characters. Raises Malformed if it is longer than `limit`, or the last."""
        length = 0
        while True:
            while self._at + length < len(self._text):
                if self._text[self._at + length] in characters:
                    return self.take(length)
                length += 1
            if self.ended or length > limit:
                raise Malformed
            yield None
