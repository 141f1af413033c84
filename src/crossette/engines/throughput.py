"""Recent throughput and output lengths of an engine. Has no clock: callers pass durations.

Only the engine's thread writes. Any thread may read: each value is replaced atomically.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque

from crossette.engine import Speeds
from crossette.engines.median import Median

_NUM_STEPS = 63
"""Steps in the median's window: some seconds. A short stall fills less than half of it."""

_NUM_ANSWERS = 64

_GOLDEN = 0.618034
"""Golden ratio: the fractional parts of its multiples are evenly distributed."""


class Throughput:
    """Running medians of prefill and decode rates, updated from finished steps."""

    def __init__(self) -> None:
        self.lengths = AnswerLengths()
        self._prompts_per_s = Median(_NUM_STEPS)
        self._answer_per_s = Median(_NUM_STEPS)

    def observe(
        self, *, prompt_tokens: int, output_tokens: int, num_answers: int, seconds: float, is_full: bool
    ) -> None:
        """Record a step that produced tokens for `num_answers` sequences.

        The prefill rate is updated only by steps that are full: a step with few prompt tokens takes as long as one
        with many.
        """
        if seconds <= 0:
            return
        if prompt_tokens and is_full:
            self._prompts_per_s.add(prompt_tokens / seconds)
        if output_tokens:
            self._answer_per_s.add(output_tokens / num_answers / seconds)

    @property
    def speeds(self) -> Speeds:
        return Speeds(self._prompts_per_s.value, self._answer_per_s.value, self.lengths.mean)


class AnswerLengths:
    """Output lengths, in tokens, of recently finished choices."""

    def __init__(self) -> None:
        self._recent: deque[int] = deque(maxlen=_NUM_ANSWERS)
        self._sorted: tuple[int, ...] = ()

    def add(self, num_tokens: int) -> None:
        self._recent.append(num_tokens)
        self._sorted = tuple(sorted(self._recent))

    @property
    def mean(self) -> float:
        lengths = self._sorted
        return sum(lengths) / len(lengths) if lengths else 0.0

    def left(self, num_tokens: int, most: int, number: int) -> int:
        """Estimate how many more tokens a choice with `num_tokens` will get, of `most` in all.

        Samples the recent lengths above `num_tokens`; `number` selects one, so that consecutive numbers reproduce
        the distribution. A choice longer than all recent ones is expected to double.
        """
        lengths = self._sorted
        first = bisect_right(lengths, num_tokens)
        if first == len(lengths):
            return min(num_tokens, most - num_tokens)
        total = lengths[first + int((len(lengths) - first) * (number * _GOLDEN % 1))]
        return max(0, min(total, most) - num_tokens)
