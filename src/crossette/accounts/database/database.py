"""The database: SQLite in the data folder, or the one at a URL. Transactions, migrations, and errors in our words."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, create_engine, inspect, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DataError,
    DBAPIError,
    IntegrityError,
    InterfaceError,
    OperationalError,
    SQLAlchemyError,
    StatementError,
)

from crossette.accounts.database import sqlite
from crossette.errors import ConfigError, StoreError, how_to_install
from crossette.folders import data_folder
from crossette.urls import check_place

_TURN = 0x63726F73
"""Of PostgreSQL's advisory locks; any number that others are unlikely to use."""

_GIVE = "Give postgresql://USER@HOST/NAME or sqlite:///FILE."

_POSTGRES = {
    "application_name": "crossette",
    "connect_timeout": 5,
    "options": "-c statement_timeout=60000 -c lock_timeout=10000",
    # A peer that vanished without a word is noticed in 25 s and not in hours.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,
}


class Rejected(StoreError):
    """The database is there, but does not take the values that it was given, and never will."""


class Unwilling(StoreError):
    """The database is there, but refuses the statement: for now, as one that is read-only does, or for good."""


class Database:
    """Connections to the database at `url`, by default to SQLite in the data folder. For any thread.

    Nothing is opened before it is used. Raises ConfigError for a URL that cannot be used.
    """

    def __init__(self, url: str | None = None) -> None:
        self._url = (
            _read_url(url) if url is not None else URL.create("sqlite", database=str(data_folder() / "crossette.db"))
        )
        self.file = Path(self._url.database or "") if self._url.drivername.startswith("sqlite") else None
        """The file of an SQLite database."""
        self._engine = sqlite.engine_of(self.file) if self.file else _postgres(self._url)

    def __str__(self) -> str:
        """Without the password."""
        return str(self.file or self._url.render_as_string(hide_password=True))

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection that changes nothing. Raises StoreError."""
        with self._explained("read"), self._connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction: all of it or nothing. Raises StoreError, and Rejected where trying again is no use."""
        with self._explained("write"), self._connect() as connection:
            connection = connection.execution_options(writes=True)
            with connection.begin():
                yield connection

    @contextmanager
    def write_alone(self) -> Iterator[Connection]:
        """A transaction that sees what all others of its kind have written, in any process: they take turns."""
        with self.write() as connection:
            if not self.file:  # SQLite's writers take turns anyway
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_TURN})")
            yield connection

    def is_blank(self) -> bool:
        """Whether nobody can have made a key in it, as far as can be seen."""
        try:
            if self.file and sqlite.look_at(self.file) is None:
                return True
            with self.read() as connection:
                return not inspect(connection).has_table("keys")
        except (OSError, StoreError):
            return False

    def migrate(self) -> None:
        """Bring the tables to this version's form, making them where there are none.

        Several processes may do so at once. Raises StoreError; ConfigError where a newer version was here.
        """
        if self.file:
            sqlite.prepare(self.file)
        with self.write_alone() as connection:
            self._upgrade(connection)

    def _upgrade(self, connection: Connection) -> None:
        logging.getLogger("alembic").setLevel(logging.WARNING)  # it tells of its own parts when it is imported
        from alembic import command
        from alembic.config import Config
        from alembic.util import CommandError

        migrations = Config(attributes={"connection": connection})
        migrations.set_main_option("script_location", "crossette:accounts/database/migrations")
        try:
            command.upgrade(migrations, "head")
        except CommandError as error:
            raise ConfigError(
                f"{self} was written by a newer version of crossette: {error}. Use that version, or another database."
            ) from error

    def close(self) -> None:
        self._engine.dispose()

    def _connect(self) -> Connection:
        try:
            return self._engine.connect()
        except UnicodeError as error:  # the name of a host in the parameters of the URL, which the resolver cannot read
            raise OSError(str(error)) from error

    @contextmanager
    def _explained(self, verb: str) -> Iterator[None]:
        """SQLAlchemy's errors, and those of a file that cannot be looked at, as ours."""
        try:
            yield
        except OSError as error:
            raise StoreError(f"Can't {verb} {self}: {error}") from error
        except SQLAlchemyError as error:
            # Not `from error`: further lines of what PostgreSQL says repeat the row.
            raise kind_of(error)(f"Can't {verb} {self}: {first_line(error)}") from None


def kind_of(error: SQLAlchemyError) -> type[StoreError]:
    """What it says of trying again."""
    is_away = isinstance(error, (OperationalError, InterfaceError)) or not isinstance(error, StatementError)
    if is_away or (isinstance(error, DBAPIError) and error.connection_invalidated):
        return StoreError
    return Rejected if isinstance(error, (DataError, IntegrityError)) else Unwilling


def first_line(error: SQLAlchemyError) -> str:
    """What the database said, without the statement and its values."""
    said = str(error.orig) if isinstance(error, StatementError) else str(error)
    return (said.splitlines() or [type(error).__name__])[0]


def _read_url(text: str) -> URL:
    """Raises ConfigError that does not repeat the URL: it may hold a password."""
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise ConfigError(f"--database-url is no URL. {_GIVE}") from None
    if url.drivername in ("postgres", "postgresql", "postgresql+psycopg"):
        if find_spec("psycopg") is None:
            raise ConfigError("PostgreSQL needs the package psycopg. " + how_to_install("postgres"))
        _check_server(url, text)
        return url.set(drivername="postgresql+psycopg")
    if url.drivername != "sqlite":
        raise ConfigError(f"--database-url cannot begin with {url.drivername}://. {_GIVE}")
    if url.host or not url.database or url.database == ":memory:" or "\0" in url.database:
        raise ConfigError("--database-url names no file. Give sqlite:///FILE, with four slashes for an absolute path.")
    if url.query:
        raise ConfigError("--database-url has parameters behind its file, and SQLite gets none here: leave out ?…")
    return url


def _check_server(url: URL, text: str) -> None:
    """Raise ConfigError unless the host and the port, if there are any, stand in the text as they were read."""
    host = f"[{url.host}]" if url.host and ":" in url.host else url.host or ""
    place = host if url.port is None else f"{host}:{url.port}"
    try:
        if not re.search(rf"[/@]{re.escape(place)}(?:[/?]|$)", text):
            raise ValueError("behind its host stands no port")
        if host:
            check_place(place)
    except ValueError as error:
        raise ConfigError(f"--database-url names no server: {error}. {_GIVE}") from None


def _postgres(url: URL) -> Engine:
    return create_engine(url, connect_args=_POSTGRES, pool_pre_ping=True, hide_parameters=True)
