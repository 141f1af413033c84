"""The command `crossette usage`."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.table import Table

from crossette.accounts.ledger import GROUPS, UsageRow, parse_query
from crossette.cli.accounts import database_options, open_database
from crossette.cli.console import wide_console
from crossette.cli.options import usage_errors
from crossette.log import escape_controls


@click.command()
@click.option(
    "--by",
    default="key,model",
    show_default=True,
    metavar="LIST",
    help="One line for each of these: any of key, model and day, with commas.",
)
@click.option(
    "--since", metavar="TIME", help="Count requests from this time on: 7d or 24h ago, or 2026-11-01.  [default: all]"
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, as GET /usage returns it.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV with a header line.")
@database_options
def usage(by: str, since: str | None, as_json: bool, as_csv: bool, database_url: str | None, file: Path | None) -> None:
    """Show the requests, tokens and costs of each key and model."""
    from crossette.accounts.database.daily_usage import usage_rows

    if as_json and as_csv:
        raise click.UsageError("--json and --csv exclude each other. Give one of them.")
    with usage_errors():
        query = parse_query(by, since, datetime.now(UTC), names=("--by", "--since"))
    with open_database(database_url, file, read_only=True) as database, database.read() as connection:
        rows = usage_rows(connection, query)
    if as_json:
        print(json.dumps({"object": "list", "data": [dataclasses.asdict(row) for row in rows]}, indent=2))
    elif as_csv:
        print(_csv(rows), end="")
    else:
        _print_usage(rows, query.group_by)


def _csv(rows: Sequence[UsageRow]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in dataclasses.fields(UsageRow)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(dataclasses.asdict(row) for row in rows)
    return text.getvalue()


def _print_usage(rows: Sequence[UsageRow], groups: Sequence[str]) -> None:
    counts = ("requests", "errors", "prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens")
    listing = Table(box=None)
    for group in (group for group in GROUPS if group in groups):
        listing.add_column(group, no_wrap=True)
    for count in (*counts, "cost"):
        listing.add_column(count.removesuffix("_tokens"), no_wrap=True, justify="right")
    for row in rows:
        group_values = {
            "key": f"{row.key_name} ({row.key})" if row.key else "anonymous",
            "model": escape_controls(row.model or "(none)"),
            "day": row.day,
        }
        cost = "" if row.cost is None else f"{row.cost:.6f}"
        listing.add_row(*(group_values[group] for group in groups), *(str(getattr(row, name)) for name in counts), cost)
    wide_console(200).print(listing)
