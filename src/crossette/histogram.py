"""How often something was how large, as counts in buckets: cheap enough for every step of an engine. No lock."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
"""Bounds for times: from a narrow step of a small model to a long answer of a large one."""

SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0)
"""Bounds for what one step holds."""


@dataclass(frozen=True, slots=True)
class Counts:
    """A look at a histogram at one moment."""

    bounds: tuple[float, ...]
    """The largest value of each bucket but the last, which has no bound."""
    counts: tuple[int, ...]
    """Values in each bucket, of which there is one more than there are bounds."""
    sum: float

    @property
    def count(self) -> int:
        return sum(self.counts)


class Histogram:
    """Counts values as they come. One thread observes; any thread may look."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def snapshot(self) -> Counts:
        return Counts(self._bounds, tuple(self._counts), self._sum)
