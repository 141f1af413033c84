"""Inject faults into real server processes and report their effect as a table.

    scripts/reliability [--only hang-up,kill] [--tries 10] [--requests 2000] [--write docs/reliability.md]
    scripts/reliability --long [--only soak] [--write docs/scale.md]

The measurements with the default model take minutes; those with "fake engine" measure the server alone. Those of
--long are of several replicas with the fake engine: a quarter of an hour, with HAProxy and PostgreSQL. Linux only: they
read /proc.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from common import machine, write
from faults.crowd import crowd, unread
from faults.disconnect import disconnect
from faults.ends import kill, stop
from faults.memory import memory
from faults.queue import queue
from faults.rows import Options, Row, table
from faults.storage import storage

from crossette.models.catalogue import DEFAULT

MARKER = "reliability"

MEASUREMENTS: dict[str, Callable[[Options], list[Row]]] = {
    "hang-up": disconnect,
    "crowd": crowd,
    "unread": unread,
    "queue": queue,
    "kill": kill,
    "stop": stop,
    "storage": storage,
    "memory": memory,
}


LONG_MARKER = "replicas"


def long_measurements() -> dict[str, Callable[[Options], list[Row]]]:
    """Those of several replicas, which need the tests' programs and packages."""
    from faults.cluster_soak import cluster_soak
    from faults.deploys import deploys
    from faults.many_keys import many_keys
    from faults.outage import outage, places

    return {"deploys": deploys, "places": places, "outage": outage, "keys": many_keys, "soak": cluster_soak}


def report(rows: Sequence[Row], command: str, *, is_long: bool = False) -> str:
    engine = "the fake engine" if is_long else f"{DEFAULT.name} unless the fake engine is named"
    return "\n".join(
        [
            f"Measured {datetime.now(UTC):%Y-%m-%d} on {machine()}; crossette {version('crossette')}, "
            f"openvino {version('openvino')}, {engine}.",
            f"Command: `{command}`",
            "",
            table(rows),
        ]
    )


def names(text: str, known: Iterable[str] = MEASUREMENTS) -> list[str]:
    """The argument of `--only`."""
    chosen = text.split(",")
    if unknown := set(chosen) - set(known):
        raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: there are {', '.join(known)}")
    return chosen


def main() -> None:
    is_long = "--long" in sys.argv
    measurements = long_measurements() if is_long else MEASUREMENTS
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--long", action="store_true", help="several replicas, with HAProxy and PostgreSQL")
    parser.add_argument(
        "--only",
        type=lambda text: names(text, measurements),
        default=list(measurements),
        help=", ".join(measurements),
    )
    parser.add_argument("--tries", type=int, default=Options.tries, help="tries of each kind of disconnect")
    parser.add_argument("--requests", type=int, default=Options.requests, help="requests of the memory measurement")
    parser.add_argument("--write", type=Path, help="page to update, with the markers of this report")
    options = parser.parse_args()
    rows: list[Row] = []
    for name in options.only:
        found = measurements[name](Options(options.tries, options.requests))
        print(table(found), file=sys.stderr, flush=True)
        rows += found
    text = report(rows, " ".join(["scripts/reliability", *sys.argv[1:]]), is_long=is_long)
    print(text)
    if options.write is not None:
        write(options.write, LONG_MARKER if is_long else MARKER, text)


if __name__ == "__main__":
    main()
