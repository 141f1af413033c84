"""What is usual of late: a median, which a slow moment does not spoil, and which follows what changes for good."""

from __future__ import annotations

from collections import deque
from statistics import median


class Median:
    """Of the last `size` values; 0 before the first. `value` may be read from any thread, others than `add` is for."""

    def __init__(self, size: int) -> None:
        self.value = 0.0
        self._recent: deque[float] = deque(maxlen=size)

    def add(self, value: float) -> None:
        self._recent.append(value)
        self.value = median(self._recent)
