"""How many tokens a step may compute, so that a long prompt does not stall the streams that run. No clock of its own.

The largest gap between the tokens of a running stream is one step. So while anybody decodes, a step is given as many
tokens as were computed in the target time lately.
"""

from __future__ import annotations

from crossette.engines.median import Median

_NUM_STEPS = 9
"""Steps that are remembered: what is usual among them counts, so that a single slow one narrows none after it."""

_MIN_TOKENS = 16
"""The least that a step is given: prompts must go on, however slow the machine."""

_SLOW_FACTOR = 50.0
_SLOWEST_PATIENCE_S = 10.0
"""A step that takes 50 times the usual, and 10 seconds, is not slow: it hangs."""


class StepPace:
    """Learns how long steps take."""

    def __init__(self, target_s: float) -> None:
        self._target_s = target_s
        self._s_per_token = Median(_NUM_STEPS)
        self._step_s = Median(_NUM_STEPS)

    def budget(self, max_tokens: int, *, num_decoding: int) -> int:
        """Tokens for the next step: `max_tokens` if nobody waits for the next token, else what the target allows."""
        if num_decoding == 0 or self._s_per_token.value == 0:
            return max_tokens
        allowed = int(self._target_s / self._s_per_token.value)
        return min(max_tokens, max(allowed, num_decoding + _MIN_TOKENS))

    def observe(self, num_tokens: int, seconds: float) -> None:
        """Learn from a finished step. Narrow steps say little of what a token costs: they mostly read the weights."""
        self._step_s.add(seconds)
        if num_tokens >= _MIN_TOKENS:
            self._s_per_token.add(seconds / num_tokens)

    @property
    def patience_s(self) -> float:
        """How long a step may take before it is said to hang."""
        return max(_SLOWEST_PATIENCE_S, _SLOW_FACTOR * self._step_s.value)
