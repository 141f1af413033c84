"""A token bucket. Pure: times are arguments, in seconds."""

from __future__ import annotations

import math

TOLERANCE = 1e-6
"""Rounding errors up to this part of a token are ignored."""


class TokenBucket:
    """A bucket of `per_minute` tokens: full at first, refilled continuously, negative after an overdraft."""

    def __init__(self, per_minute: int, now: float) -> None:
        self.per_minute = per_minute
        self._level = float(per_minute)
        self._updated = now

    def level(self, now: float) -> float:
        gained = max(0.0, now - self._updated) * self.per_minute / 60
        return min(float(self.per_minute), self._level + gained)

    def resized(self, per_minute: int, now: float) -> TokenBucket:
        """A bucket of another size that is as full in proportion, or as far in debt: it is full at the same time."""
        bucket = TokenBucket(per_minute, now)
        if self.per_minute:
            bucket._level = self.level(now) * per_minute / self.per_minute
        return bucket

    def take(self, amount: float, now: float) -> None:
        """Take an amount; a negative amount is given back."""
        self._level = self.level(now) - amount
        self._updated = max(now, self._updated)

    def wait_s(self, amount: float, now: float) -> float:
        """Seconds until `amount`, at most the capacity, is available; inf for a capacity of 0."""
        return wait_s(amount, self.level(now), self.per_minute)


def wait_s(amount: float, level: float, per_minute: int) -> float:
    """Seconds until a bucket of this level has `amount`, at most its capacity; inf for a capacity of 0."""
    if per_minute == 0:
        return math.inf
    missing = min(amount, per_minute) - level
    return missing * 60 / per_minute if missing > TOLERANCE else 0.0
