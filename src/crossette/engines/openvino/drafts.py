"""Guesses at the next tokens, from text that the output may be copying. Checked by the model, so never a change.

Prompt lookup (Saxena 2023): where the last tokens stood before, what followed them there may follow again. It looks in
the request's prediction, the prompt and the output.
"""

from __future__ import annotations

from collections.abc import Iterable

NGRAM = 3
"""Tokens that must match: two match by accident in prose, four miss the first chance of a copy."""

_FIRST_LENGTH = 4
_MAX_LENGTH = 16
_MAX_PAUSE = 32


class PromptLookup:
    """The drafts of one sequence: longer while they are right, and rarer while they are wrong."""

    def __init__(self, prediction: Iterable[int], prompt: Iterable[int]) -> None:
        self._tokens: list[int] = []
        self._followers: dict[tuple[int, ...], int] = {}
        """Where each run of NGRAM tokens was last followed by another token."""
        self._length = _FIRST_LENGTH
        self._pause = 1
        self._resting = 0
        for token in (*prediction, *prompt):
            self.append(token)

    def append(self, token: int) -> None:
        """Take a token into the text to look in."""
        if len(self._tokens) >= NGRAM:
            self._followers[tuple(self._tokens[-NGRAM:])] = len(self._tokens)
        self._tokens.append(token)

    def propose(self, max_length: int) -> tuple[int, ...]:
        """Tokens that may follow, `max_length` at most; none while guessing does not pay."""
        if self._resting > 0:
            self._resting -= 1
            return ()
        place = self._followers.get(tuple(self._tokens[-NGRAM:]))
        if place is None or max_length < 1:
            return ()
        return tuple(self._tokens[place : place + min(self._length, max_length)])

    def update(self, num_proposed: int, num_accepted: int) -> None:
        """Learn from a check: all right doubles the length; all wrong halves it and makes a pause, longer each time."""
        if num_accepted == num_proposed:
            self._length = min(self._length * 2, _MAX_LENGTH)
            self._pause = 1
        elif num_accepted == 0:
            self._length = max(self._length // 2, 1)
            self._resting = self._pause
            self._pause = min(self._pause * 2, _MAX_PAUSE)
