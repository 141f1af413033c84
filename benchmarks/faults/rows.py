"""What a measurement gives: rows of the table, each a figure in words."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """How much is measured."""

    tries: int = 10
    """Of each kind of hang-up."""
    requests: int = 2000
    """Mixed ones, over which memory is watched."""


@dataclass(frozen=True)
class Row:
    """One line: what was done to the server, what was looked at, and what was found."""

    fault: str
    measured: str
    found: str


def table(rows: Sequence[Row]) -> str:
    lines = ["| fault | measured | found |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| {row.fault} | {row.measured} | {row.found} |" for row in rows)])


def median_and_worst(values: Sequence[float], digits: int = 0) -> str:
    return f"{statistics.median(values):.{digits}f}, {max(values):.{digits}f}"


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest of the values that at least this share of them does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]


def mib(num_bytes: int) -> str:
    return f"{num_bytes / 2**20:.1f}"
