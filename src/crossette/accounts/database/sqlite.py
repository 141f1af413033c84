"""SQLite files: creation, connections, and reading a file that cannot be written."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection, QueuePool

from crossette.errors import DatabaseError

BUSY_TIMEOUT_S = 5.0
"""How long a writer waits for another one. Transactions take milliseconds."""


def prepare(file: Path) -> None:
    """Create the file if it does not exist. Raises DatabaseError if it cannot be written."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        # Readable by its owner only; SQLite gives its other files the same mode. An existing file must be opened by
        # SQLite only: closing another descriptor would release the POSIX locks of this process's connections, and
        # another process could delete the WAL while it is in use.
        with suppress(FileExistsError):
            os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        if not os.access(file, os.W_OK):
            raise DatabaseError(f"Can't write {file}: it is read-only for this process")
        # Persistent; with WAL readers and the writer do not block each other.
        with closing(_connect(file)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
    except (OSError, sqlite3.Error) as error:
        raise DatabaseError(f"Can't write {file}: {error}") from error


def stat_or_none(file: Path) -> os.stat_result | None:
    """The stat of a file; None if it does not exist. Raises OSError if that cannot be determined.

    `Path.exists` is not used: in Python 3.14 it returns False for a file in a folder without search permission.
    """
    try:
        return file.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None


def engine_of(file: Path) -> Engine:
    """An SQLAlchemy engine for the file. It connects on first use and never creates the file.

    Connections are pooled: closing the last one checkpoints the WAL, which takes far longer than inserting a row.
    A connection is discarded if its file was deleted or replaced.
    """
    engine = create_engine("sqlite://", creator=lambda: _connect(file), poolclass=QueuePool, hide_parameters=True)

    @event.listens_for(engine, "connect")
    def connected(connection: DBAPIConnection, entry: ConnectionPoolEntry) -> None:
        entry.info["file"] = _identity(file)

    @event.listens_for(engine, "checkout")
    def taken(connection: DBAPIConnection, entry: ConnectionPoolEntry, _: PoolProxiedConnection) -> None:
        if entry.info["file"] != _identity(file):
            raise DisconnectionError

    @event.listens_for(engine, "checkin")
    def returned(connection: DBAPIConnection | None, entry: ConnectionPoolEntry) -> None:
        if isinstance(connection, _Snapshot):
            entry.invalidate()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A deferred transaction that reads first cannot wait for the write lock: it fails at once.
        writes = connection.get_execution_options().get("writes")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


class _Snapshot(sqlite3.Connection):
    """Reads a file that cannot be written. It would not notice later changes, so it is used only once."""


def _identity(file: Path) -> tuple[int, int] | None:
    """The device and inode of a file, unique while it is open, even if it was deleted."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _connect(file: Path) -> sqlite3.Connection:
    try:
        return _open(file, "mode=rw")
    except sqlite3.OperationalError:
        # On a full disk or in a read-only folder SQLite cannot create the shared-memory file. If the WAL is empty,
        # the file itself is complete and can be read without it.
        wal = stat_or_none(file.with_name(file.name + "-wal"))
        if stat_or_none(file) is None or (wal is not None and wal.st_size):
            raise
        return _open(file, "immutable=1", _Snapshot)


def _open(file: Path, mode: str, kind: type[sqlite3.Connection] = sqlite3.Connection) -> sqlite3.Connection:
    """Open and test a connection. Raises OperationalError."""
    connection = sqlite3.connect(
        f"{file.absolute().as_uri()}?{mode}",
        uri=True,
        timeout=BUSY_TIMEOUT_S,
        isolation_level=None,
        check_same_thread=False,
        factory=kind,
    )
    try:
        # A killed process loses no committed data, a power failure the last commits; neither corrupts the file.
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA schema_version")
    except BaseException:
        connection.close()
        raise
    return connection
