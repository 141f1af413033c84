"""Which texts the next step computes together. Has no clock and no thread.

A step has texts of one length: padding would change the last digits of a vector. It begins with a text of the request
of which the fewest tokens were computed, so that a short request does not wait for a long one to end.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Text(Generic[T]):
    """A text of a step: whose it is, its index there, and its token ids."""

    owner: T
    index: int
    tokens: Sequence[int]


@dataclass(eq=False)
class Texts(Generic[T]):
    """The texts of one request that wait, by their length, and whose they are."""

    owner: T
    rows: Sequence[Sequence[int]]
    """Token ids."""
    num_computed: int = 0
    """The tokens of the texts that a step has taken."""
    waiting: dict[int, deque[int]] = field(default_factory=lambda: defaultdict(deque))
    """Indices of `rows` by length."""

    def __post_init__(self) -> None:
        for index, row in enumerate(self.rows):
            self.waiting[len(row)].append(index)

    @property
    def num_waiting(self) -> int:
        return sum(map(len, self.waiting.values()))

    @property
    def num_waiting_tokens(self) -> int:
        return sum(length * len(indices) for length, indices in self.waiting.items())

    def take(self, length: int, most: int) -> Iterator[int]:
        """Take up to `most` texts of a length."""
        indices = self.waiting.get(length)
        while indices and most > 0:
            most -= 1
            self.num_computed += length
            yield indices.popleft()
        if indices is not None and not indices:
            del self.waiting[length]


class Batches(Generic[T]):
    """The queue of texts. `max_tokens` bounds a step, except for a single text."""

    def __init__(self, max_tokens: int) -> None:
        self.max_tokens = max_tokens
        self._requests: list[Texts[T]] = []
        """In the order of their arrival."""
        self.num_gone = self.num_gone_tokens = 0
        """Texts, and their tokens, that were taken or dropped. Other threads may read both."""

    def add(self, texts: Texts[T]) -> None:
        self._requests.append(texts)

    def remove(self, owner: T) -> None:
        """Drop the texts of a request that are not computed yet."""
        for texts in self._requests:
            if texts.owner is owner:
                self._note_gone(texts.num_waiting, texts.num_waiting_tokens)
        self._requests = [texts for texts in self._requests if texts.owner is not owner]

    def owners(self) -> list[T]:
        """The requests that have texts to compute."""
        return [texts.owner for texts in self._requests]

    @property
    def is_empty(self) -> bool:
        return not self._requests

    def next(self) -> list[Text[T]]:
        """Take the texts of the next step. [] if none waits."""
        if not self._requests:
            return []
        requests = sorted(self._requests, key=lambda texts: texts.num_computed)
        length = next(iter(requests[0].waiting))
        room = max(1, self.max_tokens // length)
        batch: list[Text[T]] = []
        for texts in requests:
            taken = texts.take(length, room - len(batch))
            batch += [Text(texts.owner, index, texts.rows[index]) for index in taken]
        self._requests = [texts for texts in self._requests if texts.waiting]
        self._note_gone(len(batch), length * len(batch))
        return batch

    def _note_gone(self, num_texts: int, num_tokens: int) -> None:
        self.num_gone += num_texts
        self.num_gone_tokens += num_tokens
