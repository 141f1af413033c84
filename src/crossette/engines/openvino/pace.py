"""The token budget of a step, adapted so that a long prompt does not stall running streams. Has no clock.

The inter-token latency of a running stream is at most one step. So while any sequence decodes, a step's budget is the
number of tokens that recent steps computed in the target time.
"""

from __future__ import annotations

from crossette.engines.median import Median

_NUM_STEPS = 9
"""Steps in the median's window: a single slow step does not reduce the budget."""

_MIN_TOKENS = 16
"""The least prompt tokens of a step: prefill must progress on any machine."""

_SLOW_FACTOR = 50.0
_SLOWEST_PATIENCE_S = 10.0
"""A step that takes 50 times the median, and more than 10 seconds, counts as hanging."""


class StepPace:
    """Adapts the budget to measured step times."""

    def __init__(self, target_s: float) -> None:
        self._target_s = target_s
        self._s_per_token = Median(_NUM_STEPS)
        self._step_s = Median(_NUM_STEPS)

    def budget(self, max_tokens: int, *, num_decoding: int) -> int:
        """Tokens for the next step: `max_tokens` if no sequence decodes, else what the target time allows."""
        if num_decoding == 0 or self._s_per_token.value == 0:
            return max_tokens
        allowed = int(self._target_s / self._s_per_token.value)
        return min(max_tokens, max(allowed, num_decoding + _MIN_TOKENS))

    def observe(self, num_tokens: int, seconds: float) -> None:
        """Record a finished step. Narrow steps do not update the time per token: reading weights dominates."""
        self._step_s.add(seconds)
        if num_tokens >= _MIN_TOKENS:
            self._s_per_token.add(seconds / num_tokens)

    @property
    def patience_s(self) -> float:
        """How long a step may take before it counts as hanging."""
        return max(_SLOWEST_PATIENCE_S, _SLOW_FACTOR * self._step_s.value)
