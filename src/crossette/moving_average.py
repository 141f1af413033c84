"""An exponential moving average."""

from __future__ import annotations

_NEWEST = 0.2
"""The weight of a new value."""


class MovingAverage:
    """An exponential moving average, 0 before the first value."""

    def __init__(self) -> None:
        self.value = 0.0

    def add(self, value: float) -> None:
        self.value = value if self.value == 0 else self.value + _NEWEST * (value - self.value)
