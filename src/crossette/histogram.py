"""A histogram without locks, cheap enough to be updated in every engine step."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
"""Bucket bounds for durations: from a short step of a small model to a long response of a large one."""

SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0)
"""Bucket bounds for the tokens or sequences of one step."""


@dataclass(frozen=True, slots=True)
class HistogramSnapshot:
    """The values of a histogram at one point in time."""

    bounds: tuple[float, ...]
    """The upper bound of each bucket. The last bucket has none."""
    counts: tuple[int, ...]
    """The number of values in each bucket, len(bounds) + 1."""
    sum: float

    @property
    def count(self) -> int:
        return sum(self.counts)


class Histogram:
    """Counts observed values. One thread observes; any thread may take a snapshot."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def snapshot(self) -> HistogramSnapshot:
        return HistogramSnapshot(self._bounds, tuple(self._counts), self._sum)
