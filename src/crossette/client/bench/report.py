"""The benchmark report: summaries, a table and a JSON file."""

from __future__ import annotations

import os
import platform
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from crossette.client.bench.options import BenchOptions
from crossette.client.bench.request import RequestResult
from crossette.errors import ConfigError

Percentiles = dict[str, float]
"""Percentiles by name: p50, p95, p99. Empty without measurements."""


@dataclass(frozen=True, slots=True)
class LevelSummary:
    """The results of one level of concurrency. Rates and latencies are those of successful requests.

    `None` and an empty `Percentiles` mean unknown: no measurements, or no usage from the server.
    """

    concurrency: int
    num_requests: int
    errors: dict[str, int]
    """Number of errors by kind."""
    first_messages: dict[str, str]
    """The first message of each kind of error."""
    wall_s: float
    """From the first request's start to the last one's end."""
    num_without_usage: int
    prompt_tokens: int | None
    cached_tokens: int | None
    completion_tokens: int | None
    output_tokens_per_s: float | None
    total_tokens_per_s: float | None
    first_token_ms: Percentiles
    inter_token_ms: Percentiles
    """Percentiles of the mean of each request, (last text - first text) / (tokens - 1)."""
    chunk_gap_ms: Percentiles
    """Percentiles of the times between chunks with text, with any number of tokens."""
    largest_gap_ms: float | None
    request_s: Percentiles

    @property
    def num_errors(self) -> int:
        return sum(self.errors.values())

    @property
    def num_good(self) -> int:
        return self.num_requests - self.num_errors


def summarize(concurrency: int, results: Sequence[RequestResult]) -> LevelSummary:
    good = [result for result in results if result.failure is None]
    failures = [result.failure for result in results if result.failure is not None]
    started = min(result.started_s for result in results)
    wall_s = max(result.started_s + result.total_s for result in results) - started
    prompt, completion = _sum(good, lambda r: r.prompt_tokens), _sum(good, lambda r: r.completion_tokens)
    total = None if prompt is None or completion is None else prompt + completion
    return LevelSummary(
        concurrency=concurrency,
        num_requests=len(results),
        errors=dict(Counter(failure.kind for failure in failures)),
        first_messages={failure.kind: failure.message for failure in reversed(failures)},
        wall_s=wall_s,
        num_without_usage=sum(result.completion_tokens is None for result in good),
        prompt_tokens=prompt,
        cached_tokens=_sum(good, lambda r: r.cached_tokens),
        completion_tokens=completion,
        output_tokens_per_s=None if completion is None else completion / wall_s,
        total_tokens_per_s=None if total is None else total / wall_s,
        first_token_ms=_percentiles((result.first_token_s for result in good), 1000),
        inter_token_ms=_percentiles((result.inter_token_s for result in good), 1000),
        chunk_gap_ms=_percentiles((gap for result in good for gap in result.gaps_s), 1000),
        largest_gap_ms=max((1000 * gap for result in good for gap in result.gaps_s), default=None),
        request_s=_percentiles((result.total_s for result in good), 1),
    )


def _sum(results: Iterable[RequestResult], count: Callable[[RequestResult], int | None]) -> int | None:
    """The sum, or None if any value is unknown."""
    counts = [count(result) for result in results]
    known = [number for number in counts if number is not None]
    return sum(known) if known and len(known) == len(counts) else None


def _percentiles(values: Iterable[float | None], scale: float) -> Percentiles:
    known = [value * scale for value in values if value is not None]
    if not known:
        return {}
    points = np.percentile(known, (50, 95, 99))
    return {name: float(point) for name, point in zip(("p50", "p95", "p99"), points, strict=True)}


@dataclass(slots=True)
class BenchReport:
    """The report of a run: `levels` in order, and all requests."""

    options: BenchOptions
    levels: list[LevelSummary] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)
    date: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    def add(self, concurrency: int, results: Sequence[RequestResult]) -> LevelSummary:
        level = summarize(concurrency, results)
        self.levels.append(level)
        started = min(result.started_s for result in results)
        self.requests += [_row(concurrency, started, result) for result in results]
        return level

    def render(self) -> Group:
        """The table for a terminal, followed by notes."""
        lines = [line for level in self.levels for line in notes(level)]
        return Group(Text(self._title(), style="bold"), self._table(), *(Text(line) for line in lines))

    def write_json(self, path: Path) -> None:
        """Write the report to a JSON file. Raises ConfigError if that fails."""
        try:
            path.write_bytes(msgspec.json.format(msgspec.json.encode(self.as_dict())))
        except OSError as error:
            raise ConfigError(f"Can't write --json {path}: {error.strerror}") from error

    def as_dict(self) -> dict[str, Any]:
        options = {name: value for name, value in asdict(self.options).items() if name not in _NOT_REPORTED}
        return {
            "url": self.options.url,
            "model": self.options.model,
            "command": without_keys(self.options.command),
            "date": self.date,
            "versions": {"crossette": _own_version(), "python": platform.python_version()},
            "machine": {"platform": platform.platform(), "cores": os.cpu_count()},
            "options": options,
            "levels": [asdict(level) for level in self.levels],
            "requests": self.requests,
        }

    def _title(self) -> str:
        options = self.options
        return (
            f"{options.model} at {options.url}/{options.endpoint}: {options.shape} prompts of about "
            f"{options.num_prompt_tokens} tokens, max_tokens {options.max_tokens}, seed {options.seed}"
        )

    def _table(self) -> Table:
        # One column per level: few levels fit into 80 characters.
        table = Table(box=box.SIMPLE_HEAD)
        table.add_column("streams", justify="right")
        for level in self.levels:
            table.add_column(str(level.concurrency), justify="right")
        for name, cell in _ROWS:
            table.add_row(name, *(cell(level) for level in self.levels))
        return table


_NOT_REPORTED = ("api_key", "command", "url", "model")


def without_keys(command: Sequence[str]) -> list[str]:
    """The command line without the value of `--api-key`."""
    shown, hide = [], False
    for argument in command:
        shown.append("…" if hide else "--api-key=…" if argument.startswith("--api-key=") else argument)
        hide = argument == "--api-key"
    return shown


def notes(level: LevelSummary) -> list[str]:
    """Notes on a level: token counts, missing usage, errors."""
    at = f"{level.concurrency} stream{'s' * (level.concurrency > 1)}:"
    lines = []
    if level.prompt_tokens is not None and level.completion_tokens is not None:
        prompt, output = (n / level.num_good for n in (level.prompt_tokens, level.completion_tokens))
        cached = f"; {level.cached_tokens} prompt tokens came from a cache" if level.cached_tokens else ""
        lines.append(f"{at} mean tokens by the server's usage: {prompt:.1f} in, {output:.1f} out{cached}")
    if level.num_without_usage:
        lines.append(
            f"{at} no usage in {level.num_without_usage} of {level.num_good} answers, "
            "so tokens and tokens/s are unknown (chunks are not counted instead)"
        )
    for kind, count in level.errors.items():
        lines.append(f"{at} {count} x {kind}, first: {level.first_messages[kind]}")
    return lines


def _row(concurrency: int, level_started: float, result: RequestResult) -> dict[str, Any]:
    """A request for the file: the start relative to the level, and the largest gap only."""
    row = {name: value for name, value in asdict(result).items() if name != "gaps_s"}
    return {
        "concurrency": concurrency,
        **row,
        "started_s": result.started_s - level_started,
        "inter_token_s": result.inter_token_s,
        "largest_gap_s": result.largest_gap_s,
    }


def _own_version() -> str:
    try:
        return version("crossette")
    except PackageNotFoundError:  # not installed
        return "unknown"


def _number(value: float | None, digits: int = 1) -> str:
    return "unknown" if value is None else f"{value:.{digits}f}"


_ROWS: tuple[tuple[str, Callable[[LevelSummary], str]], ...] = (
    ("requests", lambda level: str(level.num_requests)),
    ("errors", lambda level: str(level.num_errors)),
    ("output tokens/s", lambda level: _number(level.output_tokens_per_s)),
    ("prompt and output tokens/s", lambda level: _number(level.total_tokens_per_s)),
    ("first token, ms: p50", lambda level: _number(level.first_token_ms.get("p50"))),
    ("p95", lambda level: _number(level.first_token_ms.get("p95"))),
    ("p99", lambda level: _number(level.first_token_ms.get("p99"))),
    ("inter-token, ms: p50", lambda level: _number(level.inter_token_ms.get("p50"))),
    ("p95", lambda level: _number(level.inter_token_ms.get("p95"))),
    ("p99", lambda level: _number(level.inter_token_ms.get("p99"))),
    ("largest gap between chunks, ms", lambda level: _number(level.largest_gap_ms)),
    ("request, s: p50", lambda level: _number(level.request_s.get("p50"), 2)),
    ("p95", lambda level: _number(level.request_s.get("p95"), 2)),
)
