"""Connections to SQLite or PostgreSQL: transactions, migrations and error mapping."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, create_engine, func, inspect, make_url, select
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
from crossette.accounts.database.tables import REVISION
from crossette.errors import ConfigError, DatabaseError, how_to_install
from crossette.folders import data_folder
from crossette.urls import check_authority

_LOCK_ID = 0x63726F73
"""The id of a PostgreSQL advisory lock; an arbitrary number that others are unlikely to use."""

_SWEEP_LOCK_ID = _LOCK_ID + 1

_VALID_URLS = "Give postgresql://USER@HOST/NAME or sqlite:///FILE."

_POSTGRES = {
    "application_name": "crossette",
    "connect_timeout": 5,
    "prepare_threshold": None,  # PgBouncer may send the next statement to another connection of its own
    "options": "-c statement_timeout=60000 -c lock_timeout=10000",
    # Detect a peer that disappeared silently within 25 s instead of hours.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,
}


class ValuesRejected(DatabaseError):
    """The database rejected the values of a statement. A retry cannot succeed."""


class StatementRejected(DatabaseError):
    """The database is reachable but rejected the statement: temporarily, for example when read-only, or permanently."""


class Database:
    """The database at `url`, by default an SQLite file in the data folder. Thread-safe.

    Connects on first use. Raises ConfigError for an invalid URL.
    """

    def __init__(self, url: str | None = None) -> None:
        self._url = (
            _read_url(url) if url is not None else URL.create("sqlite", database=str(data_folder() / "crossette.db"))
        )
        self.file = Path(self._url.database or "") if self._url.drivername.startswith("sqlite") else None
        """The file of an SQLite database; None for PostgreSQL."""
        self._engine = sqlite.engine_of(self.file) if self.file else _postgres(self._url)

    def __str__(self) -> str:
        """The file or the URL, without the password."""
        return str(self.file or self._url.render_as_string(hide_password=True))

    @property
    def libpq_url(self) -> str | None:
        """The URL for libpq, with the password; None for SQLite."""
        return None if self.file else self._url.set(drivername="postgresql").render_as_string(hide_password=False)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A read-only connection. Raises DatabaseError."""
        with self._mapped_errors("read"), self._connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction. Raises DatabaseError; ValuesRejected where a retry cannot succeed."""
        with self._mapped_errors("write"), self._connect() as connection:
            connection = connection.execution_options(writes=True)
            with connection.begin():
                yield connection

    @contextmanager
    def write_exclusively(self) -> Iterator[Connection]:
        """A transaction that excludes all other exclusive ones, in any process."""
        with self.write() as connection:
            if not self.file:  # SQLite allows one writer at a time
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK_ID})")
            yield connection

    @contextmanager
    def sweep(self) -> Iterator[Connection | None]:
        """A transaction that deletes old rows; None while another server has one, which deletes the same rows."""
        with self.write() as connection:
            is_alone = bool(self.file) or connection.scalar(select(func.pg_try_advisory_xact_lock(_SWEEP_LOCK_ID)))
            yield connection if is_alone else None

    def is_blank(self) -> bool:
        """Whether the database cannot contain keys: it has no file or no table of keys."""
        try:
            if self.file and sqlite.stat_or_none(self.file) is None:
                return True
            with self.read() as connection:
                return not inspect(connection).has_table("keys")
        except (OSError, DatabaseError):
            return False

    def migrate(self) -> None:
        """Create the tables, or migrate them to the current schema.

        Safe to run in several processes at once. Raises DatabaseError; ConfigError if a newer version migrated them.
        """
        if self.file:
            sqlite.prepare(self.file)
        with self.write_exclusively() as connection:
            if _revision_of(connection) != REVISION:  # else nothing imports alembic, which takes 0.15 s
                self._upgrade(connection)

    def _upgrade(self, connection: Connection) -> None:
        logging.getLogger("alembic").setLevel(logging.WARNING)  # it logs its plugins on import
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
        except UnicodeError as error:  # an invalid hostname in the URL's parameters
            raise OSError(str(error)) from error

    @contextmanager
    def _mapped_errors(self, verb: str) -> Iterator[None]:
        """Map SQLAlchemy's errors and OSError to DatabaseError."""
        try:
            yield
        except OSError as error:
            raise DatabaseError(f"Can't {verb} {self}: {error}") from error
        except SQLAlchemyError as error:
            # Not `from error`: the other lines of PostgreSQL's message contain the row.
            raise error_class(error)(f"Can't {verb} {self}: {error_line(error)}") from None


def _revision_of(connection: Connection) -> str | None:
    """The migration that a database has; None for a new one."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    return revision


def error_class(error: SQLAlchemyError) -> type[DatabaseError]:
    """Classify an error by whether a retry can succeed."""
    is_unreachable = isinstance(error, (OperationalError, InterfaceError)) or not isinstance(error, StatementError)
    if is_unreachable or (isinstance(error, DBAPIError) and error.connection_invalidated):
        return DatabaseError
    return ValuesRejected if isinstance(error, (DataError, IntegrityError)) else StatementRejected


def error_line(error: SQLAlchemyError) -> str:
    """The first line of the database's message, without the statement and its values."""
    message = str(error.orig) if isinstance(error, StatementError) else str(error)
    return (message.splitlines() or [type(error).__name__])[0]


def _read_url(text: str) -> URL:
    """Parse a URL. Raises ConfigError without the URL, which may contain a password."""
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise ConfigError(f"--database-url is not a URL. {_VALID_URLS}") from None
    if url.drivername in ("postgres", "postgresql", "postgresql+psycopg"):
        if find_spec("psycopg") is None or find_spec("psycopg_pool") is None:
            raise ConfigError("PostgreSQL needs the package psycopg with its pool. " + how_to_install("postgres"))
        _check_server(url, text)
        return url.set(drivername="postgresql+psycopg")
    if url.drivername != "sqlite":
        raise ConfigError(f"--database-url cannot begin with {url.drivername}://. {_VALID_URLS}")
    if url.host or not url.database or url.database == ":memory:" or "\0" in url.database:
        raise ConfigError("--database-url has no file. Give sqlite:///FILE, with four slashes for an absolute path.")
    if url.query:
        raise ConfigError("--database-url has parameters, which SQLite does not support here. Remove ?… from the URL.")
    return url


def _check_server(url: URL, text: str) -> None:
    """Raise ConfigError unless the parsed host and port, if any, appear in the URL exactly."""
    host = f"[{url.host}]" if url.host and ":" in url.host else url.host or ""
    authority = host if url.port is None else f"{host}:{url.port}"
    try:
        if not re.search(rf"[/@]{re.escape(authority)}(?:[/?]|$)", text):
            raise ValueError("its host is followed by something other than a port")
        if host:
            check_authority(authority)
    except ValueError as error:
        raise ConfigError(f"--database-url has an invalid server: {error}. {_VALID_URLS}") from None


def _postgres(url: URL) -> Engine:
    return create_engine(url, connect_args=_POSTGRES, pool_pre_ping=True, hide_parameters=True)
