"""Inject faults into real server processes and report their effect as a table.

    scripts/reliability [--only hang-up,kill] [--tries 10] [--requests 2000] [--write docs/reliability.md]

The measurements with the default model take minutes; those with "fake engine" measure the server alone. Linux only:
they read /proc.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
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


def report(rows: Sequence[Row], command: str) -> str:
    return "\n".join(
        [
            f"Measured {datetime.now(UTC):%Y-%m-%d} on {machine()}; crossette {version('crossette')}, "
            f"openvino {version('openvino')}, {DEFAULT.name} unless the fake engine is named.",
            f"Command: `{command}`",
            "",
            table(rows),
        ]
    )


def names(text: str) -> list[str]:
    """The argument of `--only`."""
    chosen = text.split(",")
    if unknown := set(chosen) - set(MEASUREMENTS):
        raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: there are {', '.join(MEASUREMENTS)}")
    return chosen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=names, default=list(MEASUREMENTS), help=", ".join(MEASUREMENTS))
    parser.add_argument("--tries", type=int, default=Options.tries, help="tries of each kind of disconnect")
    parser.add_argument("--requests", type=int, default=Options.requests, help="requests of the memory measurement")
    parser.add_argument("--write", type=Path, help="page to update, with the markers of this report")
    options = parser.parse_args()
    rows: list[Row] = []
    for name in options.only:
        found = MEASUREMENTS[name](Options(options.tries, options.requests))
        print(table(found), file=sys.stderr, flush=True)
        rows += found
    text = report(rows, " ".join(["scripts/reliability", *sys.argv[1:]]))
    print(text)
    if options.write is not None:
        write(options.write, MARKER, text)


if __name__ == "__main__":
    main()
