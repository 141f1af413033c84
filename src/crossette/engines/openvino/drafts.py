"""Draft tokens by prompt lookup. The model verifies them, so they never change the output.

Prompt lookup (Saxena 2023): find an earlier occurrence of the last tokens, and propose the tokens that followed it.
Searches the request's prediction, the prompt and the output.
"""

from __future__ import annotations

from collections.abc import Iterable

NGRAM = 3
"""Length of the matched n-gram: two tokens match by accident in prose, four detect a copy one token later."""

_FIRST_LENGTH = 4
_MAX_LENGTH = 16
_MAX_PAUSE = 32


class PromptLookup:
    """The drafter of one sequence: drafts grow while they are accepted, and pause while they are rejected."""

    def __init__(self, prediction: Iterable[int], prompt: Iterable[int]) -> None:
        self._tokens: list[int] = []
        self._followers: dict[tuple[int, ...], int] = {}
        """For each n-gram, the index of the token after its last occurrence."""
        self._length = _FIRST_LENGTH
        self._pause = 1
        self._steps_paused = 0
        for token in (*prediction, *prompt):
            self.append(token)

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
        start = self._followers.get(tuple(self._tokens[-NGRAM:]))
        if start is None or max_length < 1:
            return ()
        return tuple(self._tokens[start : start + min(self._length, max_length)])

    def update(self, num_proposed: int, num_accepted: int) -> None:
        """Adapt to a verified draft: all accepted doubles the length; all rejected halves it and pauses ever longer."""
        if num_accepted == num_proposed:
            self._length = min(self._length * 2, _MAX_LENGTH)
            self._pause = 1
        elif num_accepted == 0:
            self._length = max(self._length // 2, 1)
            self._steps_paused = self._pause
            self._pause = min(self._pause * 2, _MAX_PAUSE)
