"""The database that `crossette serve` uses with the same settings, for commands about keys and usage."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from crossette.cli.options import config_file
from crossette.errors import ConfigError, StoreError

if TYPE_CHECKING:
    from crossette.accounts.database.database import Database
    from crossette.accounts.settings import StoreSettings

F = TypeVar("F", bound=Callable[..., Any])


def database_options(command: F) -> F:
    """`--database-url` and `--config`, as `serve` has them."""
    url = click.option("--database-url", metavar="URL", help="As for serve.  [env: CROSSETTE_DATABASE_URL]")
    return url(config_file(command))


@contextmanager
def open_database(url: str | None, file: Path | None, *, reads: bool = False) -> Iterator[Database]:
    """The migrated database.

    One that cannot be written is good enough for who only `reads`, if its tables are there.
    """
    from crossette.accounts.database.database import Database

    database = Database(_settings(url, file).database_url)
    try:
        try:
            database.migrate()
        except StoreError:
            if not reads or database.is_blank():
                raise
        yield database
    finally:
        database.close()


def _settings(url: str | None, file: Path | None) -> StoreSettings:
    from crossette import config
    from crossette.accounts.settings import StoreSettings

    chosen = config.chosen_file(file, os.environ)
    flags = {} if url is None else {"database_url": url}
    if chosen is not None:  # a file may set everything, and reading that table takes half a second
        from crossette.server.settings import load_settings

        return load_settings(flags, os.environ, chosen).accounts
    accounts: StoreSettings = config.load({"accounts": StoreSettings}, flags=flags, environ=os.environ)["accounts"]
    return accounts


@contextmanager
def naming(flag: str) -> Iterator[None]:
    """Say which flag a ValueError is about."""
    try:
        yield
    except ValueError as error:
        raise ConfigError(f"{flag}: {error}") from None
