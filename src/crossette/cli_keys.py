"""The commands about keys and what they used: parse, then call one function each."""

from __future__ import annotations

import csv
import dataclasses
import inspect
import io
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from crossette.access import Limits
from crossette.cli_numbers import whole
from crossette.errors import ConfigError, StoreError
from crossette.ledger import GROUPS, UsageRow, parse_query
from crossette.log import visible
from crossette.moments import parse_duration, parse_future

if TYPE_CHECKING:
    from crossette.store.database import Database
    from crossette.store.keys import Key, Keys

keys_app = typer.Typer(help="The keys that open the server.", no_args_is_help=True)

_out = Console(highlight=False)
_err = Console(stderr=True, highlight=False)

DatabaseURL = Annotated[str | None, typer.Option(help="As for serve. \\[env: CROSSETTE_DATABASE_URL]")]
ConfigFile = Annotated[Path | None, typer.Option(help="As for serve. \\[env: CROSSETTE_CONFIG]")]
_LARGEST = 2**53
"""Of a limit: whole numbers above it are not exact everywhere, and mean no limit."""

NameOrId = Annotated[str, typer.Argument(metavar="NAME|ID")]


@contextmanager
def _database(url: str | None, file: Path | None, *, reads: bool = False) -> Iterator[Database]:
    """The database that `crossette serve` uses with the same settings.

    One that cannot be written is good enough for who only `reads`, if its tables are there.
    """
    from crossette import config
    from crossette.store.database import Database
    from crossette.store.settings import StoreSettings

    path = file or (Path(os.environ["CROSSETTE_CONFIG"]) if os.environ.get("CROSSETTE_CONFIG") else None)
    sections: Sequence[type] = (StoreSettings,)
    if path is not None:  # a file may set everything, and reading that table takes a second
        from crossette import serve

        sections = serve.SECTIONS
    flags = {"database_url": url} if url is not None else {}
    values = config.gather(config.table(sections), flags=flags, environ=os.environ, file=path)
    database = Database(config.fill(StoreSettings, values).database_url)
    try:
        try:
            database.migrate()
        except StoreError:
            if not reads or database.is_blank():
                raise
        yield database
    finally:
        database.close()


@contextmanager
def _keys(url: str | None, file: Path | None, *, reads: bool = False) -> Iterator[Keys]:
    from crossette.store.keys import Keys

    with _database(url, file, reads=reads) as database:
        yield Keys(database)


@contextmanager
def _said_as(flag: str) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise ConfigError(f"{flag}: {error}") from None


def _create(
    name: str,
    expires: str | None,
    model: list[str] | None,
    admin: bool,
    database_url: str | None,
    config: Path | None,
    **limits: int | None,
) -> None:
    """Make a key and show it, once."""
    with _said_as("--expires"):
        moment = parse_future(expires, datetime.now(UTC)) if expires is not None else None
    models = frozenset(model) if model else None
    with _keys(database_url, config) as keys:
        key, text = keys.create(name, expires_at=moment, models=models, limits=Limits(**limits), is_admin=admin)
    if models:
        _err.print("Names of models are not checked here: GET /models of a server lists what it serves.")
    _err.print(f"{key.id} ({key.name}). This is the only time that the key is shown:", markup=False)
    print(text)


def _creation() -> Callable[..., None]:
    """`_create` as typer reads it, with a flag for each limit that there is."""
    kinds: dict[str, tuple[Any, Any]] = {
        "name": (Annotated[str, typer.Argument(help="What people call it.")], inspect.Parameter.empty),
        "expires": (Annotated[str | None, typer.Option(help="When it ends: 30d, 24h, 2027-01-31.")], None),
        "model": (
            Annotated[list[str] | None, typer.Option(help="A model that it may use. Repeatable; else all.")],
            None,
        ),
        "admin": (Annotated[bool, typer.Option("--admin", help="It may see what others used.")], False),
        "database_url": (DatabaseURL, None),
        "config": (ConfigFile, None),
    }
    for field in dataclasses.fields(Limits):
        what = field.name.replace("_", " ").capitalize()
        kinds[field.name] = (
            Annotated[int | None, whole(least=1, most=_LARGEST, help=f"{what}, at most.")],
            None,
        )

    def create(**given: Any) -> None:
        """Make a key and show it, once."""
        _create(**given)

    create.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # read by typer
        [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
            for name, (kind, default) in kinds.items()
        ]
    )
    create.__annotations__ = {name: kind for name, (kind, _) in kinds.items()}
    return create


keys_app.command("create")(_creation())


@keys_app.command("list")
def list_keys(
    as_json: Annotated[bool, typer.Option("--json", help="As a list of objects.")] = False,
    database_url: DatabaseURL = None,
    config: ConfigFile = None,
) -> None:
    """List all keys that were ever made."""
    with _keys(database_url, config, reads=True) as keys:
        found = keys.list()
    now = datetime.now(UTC)
    if as_json:
        print(json.dumps([_shown(key, now) for key in found], indent=2))
    else:
        _print_keys(found, now)


def _shown(key: Key, now: datetime) -> dict[str, Any]:
    """A key for programs; times in UTC."""
    return {
        "id": key.id,
        "name": key.name,
        "state": key.state(now),
        "is_admin": key.is_admin,
        "created_at": key.created_at.isoformat(),
        "expires_at": key.expires_at and key.expires_at.isoformat(),
        "revoked_at": key.revoked_at and key.revoked_at.isoformat(),
        "models": None if key.models is None else sorted(key.models),
        "limits": dataclasses.asdict(key.limits),
    }


def _print_keys(found: Sequence[Key], now: datetime) -> None:
    listing = Table(box=None)
    for heading in ("id", "name", "state", "created", "expires", "models", "limits"):
        listing.add_column(heading, no_wrap=True)
    for key in found:
        limits = {name: bound for name, bound in dataclasses.asdict(key.limits).items() if bound is not None}
        listing.add_row(
            key.id,
            key.name,
            key.state(now) + (" admin" if key.is_admin else ""),
            f"{key.created_at:%Y-%m-%d}",
            f"{key.expires_at:%Y-%m-%d %H:%M}" if key.expires_at else "never",
            ", ".join(sorted(key.models)) if key.models is not None else "all",
            ", ".join(f"{name}={bound}" for name, bound in limits.items()) or "none",
        )
    if found:
        Console(width=max(_out.width, 250), highlight=False, markup=False).print(listing)
    else:
        _out.print(
            "No keys: a server on this machine is open to all who reach it. Make one: crossette keys create NAME"
        )


@keys_app.command("revoke")
def revoke_key(name: NameOrId, database_url: DatabaseURL = None, config: ConfigFile = None) -> None:
    """End a key. Running servers know it within two seconds."""
    with _keys(database_url, config) as keys:
        key = keys.revoke(name)
    _out.print(f"{key.id} ({key.name}) is revoked.", markup=False)


@keys_app.command("rotate")
def rotate_key(
    name: NameOrId,
    overlap: Annotated[str, typer.Option(help="How long the old text opens, too: 24h, 7d.")] = "0h",
    database_url: DatabaseURL = None,
    config: ConfigFile = None,
) -> None:
    """Give a key a new text and show it, once; its id, limits and usage stay."""
    with _said_as("--overlap"):
        longer = parse_duration(overlap)
    with _keys(database_url, config) as keys:
        key, text = keys.rotate(name, longer)
    _err.print(f"{key.id} ({key.name}). This is the only time that the key is shown:", markup=False)
    print(text)


def usage(
    by: Annotated[str, typer.Option(help="What is added up apart: a list of key, model and day.")] = "key,model",
    since: Annotated[str | None, typer.Option(help="The first request that counts: 7d, 24h, 2026-11-01.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As GET /usage answers.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="With a line of headings.")] = False,
    database_url: DatabaseURL = None,
    config: ConfigFile = None,
) -> None:
    """Add up what keys used."""
    from crossette.store.days import usage_rows

    if as_json and as_csv:
        raise ConfigError("--json and --csv are two forms of one answer: give one of them.")
    query = parse_query(by, since, datetime.now(UTC), names=("--by", "--since"))
    with _database(database_url, config, reads=True) as database, database.read() as connection:
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
        named = {
            "key": f"{row.key_name} ({row.key})" if row.key else "anonymous",
            "model": visible(row.model or "(none)"),
            "day": row.day,
        }
        cost = "" if row.cost is None else f"{row.cost:.6f}"
        listing.add_row(*(named[group] for group in groups), *(str(getattr(row, name)) for name in counts), cost)
    Console(width=max(_out.width, 200), highlight=False, markup=False).print(listing)
