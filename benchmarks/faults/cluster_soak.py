"""Measure memory and rows of two replicas, a proxy and PostgreSQL over minutes of paced streams."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from faults.rows import Options, Row, mib
from support.cluster_soak import Outcome, soak
from support.postgres import cluster


def cluster_soak(options: Options) -> list[Row]:
    with tempfile.TemporaryDirectory() as folder, cluster() as postgres:
        outcome = soak(Path(folder), postgres, options.soak_s, report=lambda line: print(line, file=sys.stderr))
    return soak_rows(outcome, options.soak_s)


def soak_rows(outcome: Outcome, seconds: float) -> list[Row]:
    fault = f"16 streams for {seconds:.0f} s over two replicas with limits in PostgreSQL"
    seen = outcome.seen
    answered = f"{seen.complete.total()}, {seen.cut.total()}, {seen.lost.total()}"
    sizes = [f"{name} {mib(found[0])}, {mib(found[-1])}" for name, found in outcome.resident.items()]
    grown = [f"{name} {mib(outcome.growth(name))}" for name in outcome.resident]
    tokens = f"{outcome.used_tokens}, {outcome.ledger_tokens}"
    return [
        Row(fault, "requests answered, cut, lost; rows in the ledger", f"{answered}; {outcome.num_rows}"),
        Row(fault, "tokens in the key's account, in the ledger; places still held", f"{tokens}; {outcome.num_leases}"),
        Row(fault, "resident memory at the first and last of 40 samples, MiB", "; ".join(sizes)),
        Row(fault, "growth in the second half, MiB", "; ".join(grown)),
    ]
