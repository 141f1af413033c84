"""Measure memory over many mixed requests, with a key and a ledger: a soak test of the default model."""

from __future__ import annotations

import sys

from soak import Outcome, growth, soak

from faults.rows import Options, Row, mib

STREAMS = 8


def memory(options: Options) -> list[Row]:
    outcome = soak(
        options.requests,
        STREAMS,
        is_fake=False,
        has_key=True,
        report=lambda line: print(line, file=sys.stderr, flush=True),
    )
    return memory_rows(outcome, options.requests)


def memory_rows(outcome: Outcome, num_requests: int) -> list[Row]:
    fault = f"{num_requests:,} requests of {len(outcome.done)} kinds, {STREAMS} at once, with a key and a ledger"
    ends = f"{mib(outcome.samples[0][1])}, {mib(outcome.samples[-1][1])}"
    ledger = outcome.health["ledger"]
    return [
        Row(fault, f"resident memory after {outcome.samples[0][0]:,} requests, at the end, MiB", ends),
        Row(
            fault,
            "growth after the first tenth, after the first half, MiB",
            f"{mib(growth(outcome.samples, 0.1))}, {mib(growth(outcome.samples, 0.5))}",
        ),
        Row(
            fault,
            "wrong answers, blocks held, rows written, lost",
            ", ".join(map(str, [len(outcome.wrong), held(outcome), ledger["written"], ledger["lost"]])),
        ),
    ]


def held(outcome: Outcome) -> int:
    """Blocks still in use at the end."""
    stats = outcome.health["models"][0]["stats"]
    return int(stats["blocks_total"] - stats["blocks_free"])
