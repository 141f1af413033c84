"""Database options and access of the commands `keys` and `usage`, with the settings of `crossette serve`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from crossette.cli.options import config_file
from crossette.errors import DatabaseError

if TYPE_CHECKING:
    from crossette.accounts.database.database import Database
    from crossette.accounts.settings import AccountSettings

F = TypeVar("F", bound=Callable[..., Any])


def database_options(command: F) -> F:
    """Add the options `--database-url` and `--config` of `serve`."""
    url = click.option(
        "--database-url", metavar="URL", help="The database, as in serve.  [env: CROSSETTE_DATABASE_URL]"
    )
    return url(config_file(command))


@contextmanager
def open_database(url: str | None, file: Path | None, *, read_only: bool = False) -> Iterator[Database]:
    """The migrated database.

    With `read_only`, a database that cannot be written is accepted if its tables exist.
    """
    from crossette.accounts.database.database import Database

    database = Database(_settings(url, file).database_url)
    try:
        try:
            database.migrate()
        except DatabaseError:
            if not read_only or database.is_blank():
                raise
        yield database
    finally:
        database.close()


def _settings(url: str | None, file: Path | None) -> AccountSettings:
    from crossette import config
    from crossette.accounts.settings import AccountSettings

    chosen = config.chosen_file(file, os.environ)
    flags = {} if url is None else {"database_url": url}
    if chosen is not None:  # loading all sections takes half a second, so only for a file
        from crossette.server.settings import load_settings

        return load_settings(flags, os.environ, chosen).accounts
    accounts: AccountSettings = config.load({"accounts": AccountSettings}, flags=flags, environ=os.environ)["accounts"]
    return accounts
