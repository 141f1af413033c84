"""Measure the server's CPU with and without keys, limits, the ledger and the metrics.

    scripts/bench-guards [--streams 1,8,64] [--rounds 3] [--write docs/reliability.md]

Both servers run the fake engine. One has a key with every limit, a ledger in SQLite and the metrics, like
`crossette serve` with keys; the other has none of them. They alternate in every round.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

from common import fake, machine, serving, write
from guarded import guarded_database
from peers.front import Cost, cost_of
from peers.runs import Size

MARKER = "guards"


def measure(streams: int, number: int) -> tuple[Cost, Cost]:
    """Costs without and with guards. The order alternates from round to round."""
    if number % 2:
        guarded = with_guards(streams, number)
        return without(streams, number), guarded
    return without(streams, number), with_guards(streams, number)


def without(streams: int, number: int) -> Cost:
    with serving([*fake(), "--plain"]) as served:
        return cost_of(served, streams, Size(), number)


def with_guards(streams: int, number: int) -> Cost:
    with TemporaryDirectory() as folder:
        url, key = guarded_database(folder)
        with serving([*fake(), "--database-url", url], key=key) as served:
            return cost_of(served, streams, Size(), number, api_key=key)


def report(results: dict[int, list[tuple[Cost, Cost]]], command: str) -> str:
    num_rounds = len(next(iter(results.values())))
    lines = [
        f"Measured {datetime.now(UTC):%Y-%m-%d} on {machine()}; crossette {version('crossette')}.",
        f"Server CPU with the fake engine, streamed answers of 16 and 256 tokens; medians of "
        f"{num_rounds} alternating rounds. Command: `{command}`",
        "",
        "| streams | a request, ms: without, with | a token, µs: without, with | 256 tokens: with / without |",
        "|---|---|---|---|",
    ]
    for streams, rounds in results.items():
        plain, guarded = ([pair[index] for pair in rounds] for index in (0, 1))
        requests = [statistics.median(cost.ms_per_request for cost in costs) for costs in (plain, guarded)]
        tokens = [statistics.median(cost.us_per_token for cost in costs) for costs in (plain, guarded)]
        # A ratio of medians: processes differ in speed by a fifth from start to start, whatever they run.
        ratio = statistics.median(cost.long_s for cost in guarded) / statistics.median(cost.long_s for cost in plain)
        lines.append(
            f"| {streams} | {requests[0]:.2f}, {requests[1]:.2f} | {tokens[0]:.0f}, {tokens[1]:.0f} | {ratio:.2f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", default="1,8,64")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", type=Path, help="page to update, with the markers of this report")
    options = parser.parse_args()
    levels = [int(level) for level in options.streams.split(",")]
    results: dict[int, list[tuple[Cost, Cost]]] = {}
    for number in range(options.rounds):
        for streams in levels:
            results.setdefault(streams, []).append(measure(streams, number))
            print(streams, *results[streams][-1], file=sys.stderr, flush=True)
    text = report(results, " ".join(["scripts/bench-guards", *sys.argv[1:]]))
    print(text)
    if options.write is not None:
        write(options.write, MARKER, text)


if __name__ == "__main__":
    main()
