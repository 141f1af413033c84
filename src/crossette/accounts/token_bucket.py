"""A token bucket: filled evenly, taken from. Pure: times are arguments, in seconds."""

from __future__ import annotations

import math

ENOUGH = 1e-6
"""What may be missing to a whole token: rounding, a thousand times over."""


class TokenBucket:
    """So many a minute: full at first, filling evenly, below zero after more was taken than was there."""

    def __init__(self, per_minute: int, now: float) -> None:
        self.per_minute = per_minute
        self._level = float(per_minute)
        self._seen = now

    def level(self, now: float) -> float:
        gained = max(0.0, now - self._seen) * self.per_minute / 60
        return min(float(self.per_minute), self._level + gained)

    def take(self, amount: float, now: float) -> None:
        """Take what was used; a negative amount gives back."""
        self._level = self.level(now) - amount
        self._seen = max(now, self._seen)

    def wait_s(self, amount: float, now: float) -> float:
        """Seconds until `amount` is there, or all that the bucket can hold if that is less; inf if it holds nothing."""
        if self.per_minute == 0:
            return math.inf
        missing = min(amount, self.per_minute) - self.level(now)
        return missing * 60 / self.per_minute if missing > ENOUGH else 0.0
