"""A running median of recent values: robust against outliers, and follows lasting changes."""

from __future__ import annotations

from collections import deque
from statistics import median


class Median:
    """The median of the last `size` values; 0 before the first. One thread calls `add`, any may read `value`."""

    def __init__(self, size: int) -> None:
        self.value = 0.0
        self._recent: deque[float] = deque(maxlen=size)

    def add(self, value: float) -> None:
        self._recent.append(value)
        self.value = median(self._recent)
