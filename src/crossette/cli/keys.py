"""The commands `crossette keys …`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from rich.table import Table

from crossette.accounts.access import Limits
from crossette.accounts.keys import LARGEST_LIMIT
from crossette.cli.accounts import database_options, open_database
from crossette.cli.console import err, out, wide_console
from crossette.cli.help import Group
from crossette.cli.numbers import integer, or_none
from crossette.cli.options import usage_errors
from crossette.timespec import parse_duration, parse_future

if TYPE_CHECKING:
    from crossette.accounts.database.keys import Key, Keys
    from crossette.accounts.keys import KeyChanges

F = TypeVar("F", bound=Callable[..., Any])


@click.group(cls=Group, no_args_is_help=True)
def keys() -> None:
    """Manage the API keys of the server.

    Without any key the server accepts requests from this machine without one. The commands use the database of
    serve, and running servers follow within two seconds.
    """


@contextmanager
def _keys(url: str | None, file: Path | None, *, read_only: bool = False) -> Iterator[Keys]:
    from crossette.accounts.database.keys import Keys

    with open_database(url, file, read_only=read_only) as database:
        yield Keys(database)


_ADMIN = "Allow the key to read the usage of all keys and the metrics."
_LIMITS = {
    "requests_per_minute": "Allow at most this many requests per minute.",
    "prompt_tokens_per_minute": "Allow at most this many prompt tokens per minute, cached ones included.",
    "cached_tokens_per_minute": "Allow at most this many prompt tokens per minute from the prefix cache.",
    "generated_tokens_per_minute": "Allow at most this many generated tokens per minute.",
    "concurrent_requests": "Allow at most this many requests at the same time.",
    "total_tokens": "The budget: allow at most this many tokens over the life of the key, prompts included.",
}
"""The help of each limit."""


_LIMIT = integer(1, LARGEST_LIMIT)


def _limit_options(kind: click.ParamType[Any], default: str = "") -> Callable[[F], F]:
    """Flags of this kind for all limits."""

    def add(command: F) -> F:
        for name, help in reversed(_LIMITS.items()):
            command = click.option("--" + name.replace("_", "-"), type=kind, help=help + default)(command)
        return command

    return add


@keys.command("create")
@click.argument("name")
@click.option(
    "--expires", metavar="TIME", help="Reject the key from then on: in 30d or 24h, or 2027-01-31.  [default: never]"
)
@click.option(
    "--model", multiple=True, metavar="NAME", help="Allow this model or alias only. Repeatable.  [default: all]"
)
@click.option("--admin", is_flag=True, help=_ADMIN)
@_limit_options(_LIMIT, "  [default: no limit]")
@database_options
def create_key(
    name: str,
    expires: str | None,
    model: tuple[str, ...],
    admin: bool,
    database_url: str | None,
    file: Path | None,
    **limits: int | None,
) -> None:
    """Create a key and show it once.

    NAME is for you: it stands in lists and usage reports.
    """
    moment = _future(expires) if expires is not None else None
    models = frozenset(model) if model else None
    with _keys(database_url, file) as table:
        key, text = table.create(name, expires_at=moment, models=models, limits=Limits(**limits), is_admin=admin)
    _note_models(models)
    err.print(f"{key.id} ({key.name}). The key is shown only this once:", markup=False)
    print(text)


def _future(expires: str) -> datetime:
    with usage_errors("--expires"):
        return parse_future(expires, datetime.now(UTC))


def _note_models(models: Collection[str] | None) -> None:
    if models:
        err.print("Model names are not validated here: GET /models of a server lists its models.")


@keys.command("update")
@click.argument("name", metavar="NAME|ID")
@click.option("--name", "new_name", metavar="NAME", help="Rename the key.")
@click.option(
    "--expires", metavar="TIME|never", help="Reject the key from then on: in 30d or 24h, or 2027-01-31; or never."
)
@click.option(
    "--model",
    multiple=True,
    metavar="NAME",
    help="Allow this model or alias only, instead of those before. Repeatable.",
)
@click.option("--all-models", is_flag=True, help="Allow all models.")
@click.option("--admin/--no-admin", default=None, help=_ADMIN)
@_limit_options(or_none(_LIMIT), " Or none, to remove the limit.")
@database_options
def update_key(
    name: str,
    new_name: str | None,
    expires: str | None,
    model: tuple[str, ...],
    all_models: bool,
    admin: bool | None,
    database_url: str | None,
    file: Path | None,
    **limits: int | str | None,
) -> None:
    """Change the limits, models, expiry or name of a key.

    Its secret, id and usage stay, and so does what no option names. Running servers follow within two seconds.
    """
    if model and all_models:
        raise click.UsageError("--model and --all-models exclude each other. Give one of them.")
    changes: KeyChanges = {}
    if new_name is not None:
        changes["name"] = new_name
    if expires is not None:
        changes["expires_at"] = None if expires == "never" else _future(expires)
    if model or all_models:
        changes["models"] = frozenset(model) or None
    if admin is not None:
        changes["is_admin"] = admin
    new_limits = {limit: None if isinstance(bound, str) else bound for limit, bound in limits.items() if bound}
    if not changes and not new_limits:
        raise click.UsageError("Nothing to change. Give at least one option, such as --total-tokens or --expires.")
    with _keys(database_url, file) as table:
        key = table.update(name, changes, new_limits)
    _note_models(model)
    out.print(f"{key.id} ({key.name}) is updated:", markup=False)
    _print_keys([key], datetime.now(UTC))


@keys.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list of objects.")
@database_options
def list_keys(as_json: bool, database_url: str | None, file: Path | None) -> None:
    """List all keys, also revoked and expired ones."""
    with _keys(database_url, file, read_only=True) as table:
        found = table.list()
    now = datetime.now(UTC)
    if as_json:
        print(json.dumps([_as_json(key, now) for key in found], indent=2))
    else:
        _print_keys(found, now)


def _as_json(key: Key, now: datetime) -> dict[str, Any]:
    """A key as JSON values; times in UTC."""
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
        wide_console(250).print(listing)
    else:
        out.print("No keys: the server accepts requests without a key. Create one: crossette keys create NAME")


@keys.command("revoke")
@click.argument("name", metavar="NAME|ID")
@database_options
def revoke_key(name: str, database_url: str | None, file: Path | None) -> None:
    """Revoke a key for good. Running servers reject it within two seconds."""
    with _keys(database_url, file) as table:
        key = table.revoke(name)
    out.print(f"{key.id} ({key.name}) is revoked.", markup=False)


@keys.command("rotate")
@click.argument("name", metavar="NAME|ID")
@click.option(
    "--overlap",
    default="0h",
    show_default=True,
    metavar="TIME",
    help="Accept the old secret as well for so long: 24h, 7d.",
)
@database_options
def rotate_key(name: str, overlap: str, database_url: str | None, file: Path | None) -> None:
    """Replace the secret of a key, and show it once.

    Id, name, limits and usage stay.
    """
    with usage_errors("--overlap"):
        duration = parse_duration(overlap)
    with _keys(database_url, file) as table:
        key, text = table.rotate(name, duration)
    err.print(f"{key.id} ({key.name}). The key is shown only this once:", markup=False)
    print(text)
