"""The results of measurements, as rows of a table."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """The size of the measurements."""

    tries: int = 10
    """Tries of each kind of disconnect."""
    requests: int = 2000
    """Mixed requests of the memory measurement."""
    soak_s: float = 600.0
    """Seconds of the streams over two replicas."""


@dataclass(frozen=True)
class Row:
    """One row: the fault, the measured quantity, and the result."""

    fault: str
    measured: str
    found: str


def table(rows: Sequence[Row]) -> str:
    lines = ["| fault | measured | found |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| {row.fault} | {row.measured} | {row.found} |" for row in rows)])


def median_and_worst(values: Sequence[float], digits: int = 0) -> str:
    return f"{statistics.median(values):.{digits}f}, {max(values):.{digits}f}"


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]


def mib(num_bytes: int) -> str:
    return f"{num_bytes / 2**20:.1f}"
