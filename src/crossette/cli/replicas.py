"""The list of `crossette status --replicas`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from crossette.accounts.database.replicas import ReplicaRow, replica_rows
from crossette.cli.accounts import open_database
from crossette.cli.console import wide_console
from crossette.log import escape_controls


def print_replicas(database_url: str | None, file: Path | None, *, as_json: bool) -> None:
    """Print the servers that share the database. Raises DatabaseError or ConfigError."""
    with open_database(database_url, file, read_only=True) as database, database.read() as connection:
        rows = replica_rows(connection)
    if as_json:
        print(json.dumps([dataclasses.asdict(row) for row in rows]))
    else:
        _print_table(rows)


def _print_table(rows: Sequence[ReplicaRow]) -> None:
    listing = Table(box=None)
    for name in ("replica", "status"):
        listing.add_column(name, no_wrap=True)
    for name in ("seen", "running", "waiting", "KV cache", "prompt tokens", "generated tokens"):
        listing.add_column(name, no_wrap=True, justify="right")
    for row in rows:
        used = f"{row.kv_blocks_used / row.kv_blocks:.0%}" if row.kv_blocks else "-"
        counts = (row.running, row.waiting, used, row.prompt_tokens, row.generated_tokens)
        listing.add_row(escape_controls(row.name), row.status, f"{row.seen_s:.0f} s ago", *map(str, counts))
    wide_console(200).print(listing)
    live = [row for row in rows if row.status != "lost"]
    running, waiting = sum(row.running for row in live), sum(row.waiting for row in live)
    print(f"{len(live)} live replicas, {running} requests running, {waiting} waiting")
