"""SQLite's file: making it, connecting to it, and reading one that cannot be written."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection, QueuePool

from crossette.errors import StoreError

BUSY_TIMEOUT_S = 5.0
"""How long a writer waits for another one: each holds the file for milliseconds."""


def prepare(file: Path) -> None:
    """Make the file where there is none. Raises StoreError where it cannot be written."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        # Nobody else on the machine needs to read it; SQLite gives its other files the same mode. A file that is
        # there must not be opened but by SQLite: closing it would give up the locks of this process's connections,
        # and others would take away the log of changes under them.
        with suppress(FileExistsError):
            os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        if not os.access(file, os.W_OK):
            raise StoreError(f"Can't write {file}: it is read-only for this process")
        # Kept in the file: readers and the writer do not wait for one another.
        with closing(_connect(file)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
    except (OSError, sqlite3.Error) as error:
        raise StoreError(f"Can't write {file}: {error}") from error


def look_at(file: Path) -> os.stat_result | None:
    """None where nothing is there. Raises OSError where that cannot be seen.

    `Path.exists` differs between versions of Python: of a folder that may not be entered, 3.14 says that it is empty.
    """
    try:
        return file.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None


def engine_of(file: Path) -> Engine:
    """What connects to the file. Nothing is opened yet, and never a file made.

    Connections are kept: closing the last one writes the log of changes into the file, which takes far longer than a
    row does. One to a file that is not there any more, or is another one now, is not used again.
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
        # A transaction that begins by reading cannot wait for its turn to write: it fails at once.
        writes = connection.get_execution_options().get("writes")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


class _Snapshot(sqlite3.Connection):
    """Reads a file that cannot be written just now. It would not notice if somebody did, so it serves only once."""


def _identity(file: Path) -> tuple[int, int] | None:
    """What no other file has while this one is open, even if it was deleted."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _connect(file: Path) -> sqlite3.Connection:
    try:
        return _opened(file, "mode=rw")
    except sqlite3.OperationalError:
        # On a full disk or in a read-only folder SQLite cannot make the files that readers share. Where the log of
        # changes is empty, so that all is in the file itself, that can be read all the same.
        changes = look_at(file.with_name(file.name + "-wal"))
        if look_at(file) is None or (changes is not None and changes.st_size):
            raise
        return _opened(file, "immutable=1", _Snapshot)


def _opened(file: Path, mode: str, kind: type[sqlite3.Connection] = sqlite3.Connection) -> sqlite3.Connection:
    """A connection that works. Raises OperationalError."""
    connection = sqlite3.connect(
        f"{file.absolute().as_uri()}?{mode}",
        uri=True,
        timeout=BUSY_TIMEOUT_S,
        isolation_level=None,
        check_same_thread=False,
        factory=kind,
    )
    try:
        # A killed process loses nothing that was committed, a machine without power the last commits; neither
        # breaks the file.
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA schema_version")
    except BaseException:
        connection.close()
        raise
    return connection
