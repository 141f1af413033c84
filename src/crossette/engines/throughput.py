"""How fast an engine is and how long its answers are, by what is usual of late. No clock of its own.

It is written by the thread that steps. Others may read: each value is replaced as a whole.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque

from crossette.engine import Speeds
from crossette.engines.median import Median

_NUM_STEPS = 63
"""Steps that are remembered: some seconds. A slow moment is over before it fills half of them."""

_NUM_ANSWERS = 64

_GOLDEN = 0.618034
"""Its multiples spread evenly between whole numbers."""


class Throughput:
    """Learns from finished steps."""

    def __init__(self) -> None:
        self.lengths = AnswerLengths()
        self._prompts_per_s = Median(_NUM_STEPS)
        self._answer_per_s = Median(_NUM_STEPS)

    def observe(
        self, *, prompt_tokens: int, output_tokens: int, num_answers: int, seconds: float, is_full: bool
    ) -> None:
        """Learn from a step that gave `num_answers` answers tokens.

        Only one that `is_full`, which had no room for more, says how fast prompts can be: the last tokens of a prompt
        take a step as long as many would have taken.
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
    """How many tokens the choices had that ended of late."""

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
        """Tokens that a choice which has `num_tokens` may still get, of `most` in all.

        It is taken to become as long as one of those that became longer: by its `number` another one for each, so
        that many together are as different as those were. One that outlives them all may live as long again.
        """
        lengths = self._sorted
        first = bisect_right(lengths, num_tokens)
        if first == len(lengths):
            return min(num_tokens, most - num_tokens)
        whole = lengths[first + int((len(lengths) - first) * (number * _GOLDEN % 1))]
        return max(0, min(whole, most) - num_tokens)
