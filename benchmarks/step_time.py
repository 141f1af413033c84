"""Measure what `--step-time` trades: gaps of a running stream against the first token of a long prompt beside it.

    scripts/bench-step-time [--seconds 0.05,0.1,0.15,0.3,0.6] [--long 2000] [--rounds 3] [--write docs/benchmarks.md]
                            [--picture FILE.png]

The default model in this process, without a server. Draft tokens are off, prompts are random token ids. Settings take
turns in every round. The plot needs matplotlib, which scripts/bench-peers installs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from common import head, write
from engine_speed import SHORT, request, times
from line_charts import Chart, plot

from crossette.engines.openvino.convert import convert
from crossette.engines.openvino.engine import OpenVINOEngine
from crossette.engines.openvino.settings import OpenVINOSettings
from crossette.models.catalogue import DEFAULT
from crossette.models.pull import pull
from crossette.models.store import ModelStore, default_root
from crossette.server.served import model_files

MARKER = "step time"
_BEFORE = 24
"""Tokens of the stream before the long prompt arrives."""


@dataclass(frozen=True)
class Beside:
    """Times in seconds."""

    gap_before: float
    """Median gap of the stream alone."""
    gap: float
    """Median gap while the prompt is computed."""
    largest_gap: float
    first_token: float
    """Of the prompt, beside the stream."""
    alone: float
    """Of the prompt, without a stream."""

    @property
    def per_share(self) -> float:
        """The time of the first token, relative to the time alone divided by the share that the stream leaves."""
        return self.first_token * (1 - self.gap_before / self.gap) / self.alone


async def beside(engine: OpenVINOEngine, num_long: int, seed: int) -> Beside:
    alone = (await times(engine, num_long, 1, seed))[0]
    arrivals: list[float] = []
    begun = asyncio.Event()

    async def stream() -> None:
        async for _ in engine.generate(request(SHORT, 4000, seed + 1)):
            arrivals.append(time.perf_counter())
            if len(arrivals) == _BEFORE:
                begun.set()

    running = asyncio.create_task(stream())
    await begun.wait()
    sent = time.perf_counter()
    first_token = (await times(engine, num_long, 1, seed + 2))[0]
    done = time.perf_counter()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    gaps = [after - before for before, after in pairwise(arrivals) if after >= sent and before <= done]
    before = statistics.median(after - before for before, after in pairwise(arrivals) if after < sent)
    return Beside(before, statistics.median(gaps), max(gaps), first_token, alone)


def measure(seconds: Sequence[float], num_long: int, rounds: int) -> dict[float, list[Beside]]:
    stored = pull(ModelStore(default_root()), DEFAULT.name, convert)
    found: dict[float, list[Beside]] = {step_time: [] for step_time in seconds}
    for number in range(rounds):
        for step_time in seconds:
            settings = OpenVINOSettings(step_time=step_time, kv_cache="1GiB", max_draft_rows=0)
            with closing(OpenVINOEngine.load(model_files(stored), settings)) as engine:
                asyncio.run(times(engine, SHORT, 8, 1))
                found[step_time].append(asyncio.run(beside(engine, num_long, 1000 * number)))
    return found


def median_of(rounds: Sequence[Beside]) -> Beside:
    names = ("gap_before", "gap", "largest_gap", "first_token", "alone")
    return Beside(*(statistics.median(getattr(one, name) for one in rounds) for name in names))


def report(found: dict[float, Beside], num_long: int, rounds: int) -> str:
    lines = [
        *head("scripts/bench-step-time"),
        f"A stream, and a prompt of {num_long:,} tokens that arrives beside it; medians of {rounds} rounds.",
        "",
        "| `--step-time`, s | gap of the stream alone, ms | beside the prompt, ms | largest, ms | largest / step time"
        " | first token of the prompt, s | alone, s | relative to alone per share of the machine |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for step_time, one in found.items():
        gaps = " | ".join(f"{1000 * gap:.0f}" for gap in (one.gap_before, one.gap, one.largest_gap))
        lines.append(
            f"| {step_time:g} | {gaps} | {one.largest_gap / step_time:.2f} | {one.first_token:.2f} | {one.alone:.2f}"
            f" | {one.per_share:.2f} |"
        )
    return "\n".join(lines)


def charts(found: dict[float, Beside]) -> list[Chart]:
    largest = [(1000 * step_time, 1000 * one.largest_gap) for step_time, one in found.items()]
    first = [(1000 * step_time, one.first_token) for step_time, one in found.items()]
    alone = [(1000 * step_time, one.alone) for step_time, one in found.items()]
    return [
        Chart("gaps of a stream beside a long prompt", "--step-time, ms", "largest gap, ms", {"largest gap": largest}),
        Chart("first token of that prompt", "--step-time, ms", "s", {"beside the stream": first, "alone": alone}),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", default="0.05,0.1,0.15,0.3,0.6")
    parser.add_argument("--long", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", type=Path, help="page to update, with the markers of this report")
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    seconds = [float(part) for part in options.seconds.split(",")]
    rounds = measure(seconds, options.long, options.rounds)
    found = {step_time: median_of(several) for step_time, several in rounds.items()}
    text = report(found, options.long, options.rounds)
    print(text)
    if options.write is not None:
        write(options.write, MARKER, text)
    if options.picture is not None:
        raw = {step_time: [vars(one) for one in several] for step_time, several in rounds.items()}
        options.picture.with_suffix(".json").write_text(json.dumps(raw, indent=1) + "\n")
        plot(options.picture, charts(found))


if __name__ == "__main__":
    main()
