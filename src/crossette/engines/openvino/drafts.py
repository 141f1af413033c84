"""Draft tokens by prompt lookup. The model verifies them, so they never change the output.

Prompt lookup (Saxena 2023): find an earlier occurrence of the last tokens, and propose the tokens that followed it.
Searches the request's prediction, the prompt and the output, then recent requests of the same key.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable

NGRAM = 3
"""Length of the matched n-gram: two tokens match by accident in prose, four detect a copy one token later."""

_FIRST_LENGTH = 4
_MAX_LENGTH = 16
_MAX_PAUSE = 32

_RECENT_TOKENS = 1 << 16
"""Tokens of recent requests, of all keys together: some 11 MB."""
_RECENT_LOOKUPS = 16
"""Requests of a key that are searched."""


class PromptLookup:
    """The drafter of one sequence: drafts grow while they are accepted, and pause while they are rejected."""

    def __init__(self, prediction: Iterable[int], prompt: Iterable[int], recent: Iterable[PromptLookup] = ()) -> None:
        """`recent` are the drafters of earlier requests, whose texts are searched in this order."""
        self._recent = tuple(recent)
        self._tokens: list[int] = []
        self._followers: dict[tuple[int, ...], int] = {}
        """For each n-gram, the index of the token after its last occurrence."""
        self._length = _FIRST_LENGTH
        self._pause = 1
        self._steps_paused = 0
        for token in (*prediction, *prompt):
            self.append(token)

    def __len__(self) -> int:
        """Tokens of the text that is searched, without those of other requests."""
        return len(self._tokens)

    def append(self, token: int) -> None:
        """Add a token to the text that is searched."""
        if len(self._tokens) >= NGRAM:
            self._followers[tuple(self._tokens[-NGRAM:])] = len(self._tokens)
        self._tokens.append(token)

    def propose(self, max_length: int) -> tuple[int, ...]:
        """Draft tokens, `max_length` at most; none while paused or without a match."""
        if self._steps_paused > 0:
            self._steps_paused -= 1
            return ()
        if max_length < 1:
            return ()
        ngram, length = tuple(self._tokens[-NGRAM:]), min(self._length, max_length)
        return next(filter(None, (lookup._follow(ngram, length) for lookup in (self, *self._recent))), ())

    def _follow(self, ngram: tuple[int, ...], length: int) -> tuple[int, ...]:
        """The tokens that followed the last occurrence of an n-gram."""
        start = self._followers.get(ngram)
        return () if start is None else tuple(self._tokens[start : start + length])

    def forget_recent(self) -> None:
        """Release the drafters of earlier requests, so that they do not form an endless chain."""
        self._recent = ()

    def update(self, num_proposed: int, num_accepted: int) -> None:
        """Adapt to a verified draft: all accepted doubles the length; all rejected halves it and pauses ever longer."""
        if num_accepted == num_proposed:
            self._length = min(self._length * 2, _MAX_LENGTH)
            self._pause = 1
        elif num_accepted == 0:
            self._length = max(self._length // 2, 1)
            self._steps_paused = self._pause
            self._pause = min(self._pause * 2, _MAX_PAUSE)


class RecentLookups:
    """The drafters of requests that have ended, each with the index of its text. Nothing is indexed again.

    Texts of one owner are never searched for another one: the speed of an answer would tell what others have asked.
    """

    def __init__(self, max_tokens: int = _RECENT_TOKENS) -> None:
        self._max_tokens = max_tokens
        self._num_tokens = 0
        self._lookups: deque[tuple[Hashable, PromptLookup]] = deque()

    def add(self, owner: Hashable, lookup: PromptLookup) -> None:
        """Keep the drafter of a request that has ended; the oldest ones are dropped."""
        lookup.forget_recent()
        self._lookups.appendleft((owner, lookup))
        self._num_tokens += len(lookup)
        while self._num_tokens > self._max_tokens:
            self._num_tokens -= len(self._lookups.pop()[1])

    def of(self, owner: Hashable) -> list[PromptLookup]:
        """The newest drafters of an owner, the newest first."""
        return [lookup for other, lookup in self._lookups if other == owner][:_RECENT_LOOKUPS]
