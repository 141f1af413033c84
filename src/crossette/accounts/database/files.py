"""Files in the database: a row for each, and their contents in parts."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from crossette.accounts.batches import ACTIVE
from crossette.accounts.database.database import Database
from crossette.accounts.database.pages import read_page
from crossette.accounts.database.tables import batches, file_parts, files
from crossette.accounts.files import Page, PageQuery, StoredFile
from crossette.errors import FileInUse, NotFound

_COLUMNS = [files.c[field.name] for field in fields(StoredFile)]


class DatabaseFiles:
    """Implements `FileStore`. The contents are in the database, so that all servers on it have them."""

    def __init__(
        self, database: Database, keep: timedelta, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self.keep = keep
        self._database = database
        self._clock = clock

    def create(
        self, key_id: str, *, purpose: str, filename: str, parts: Iterable[bytes], keep: timedelta
    ) -> StoredFile:
        file_id, size, now = new_file_id(), 0, self._clock()
        incomplete = StoredFile(file_id, key_id, purpose, filename, 0, now, now + _UPLOAD_TIME)
        try:
            with self._database.write() as connection:
                insert_file(connection, incomplete, is_complete=False)
            for number, data in enumerate(parts):
                size += len(data)
                with self._database.write() as connection:
                    connection.execute(insert(file_parts).values(file_id=file_id, number=number, data=data))
            complete = {"is_complete": True, "size": size, "expires_at": now + min(keep, self.keep)}
            with self._database.write() as connection:
                connection.execute(update(files).where(files.c.id == file_id).values(complete))
                return read_file(connection, key_id, file_id, now)
        except BaseException:
            with self._database.write() as connection:
                _delete_file(connection, file_id)
            raise

    def get(self, key_id: str, file_id: str) -> StoredFile:
        with self._database.read() as connection:
            return read_file(connection, key_id, file_id, self._clock())

    def list(self, key_id: str, query: PageQuery, purpose: str | None = None) -> Page[StoredFile]:
        conditions = [files.c.expires_at > self._clock(), files.c.is_complete]
        if purpose is not None:
            conditions.append(files.c.purpose == purpose)
        with self._database.read() as connection:
            page = read_page(connection, files, key_id, query, *conditions)
            return Page([_file(row) for row in page.records], page.has_more)

    def parts(self, file_id: str) -> Iterator[bytes]:
        number = -1
        while True:
            statement = select(file_parts.c.number, file_parts.c.data).order_by(file_parts.c.number).limit(1)
            with self._database.read() as connection:
                row = connection.execute(
                    statement.where(file_parts.c.file_id == file_id, file_parts.c.number > number)
                ).first()
            if row is None:
                return
            number = row[0]
            yield row[1]

    def delete(self, key_id: str, file_id: str) -> None:
        with self._database.write() as connection:
            read_file(connection, key_id, file_id, self._clock())
            reader = connection.scalar(
                select(batches.c.id).where(batches.c.input_file_id == file_id, batches.c.status.in_(ACTIVE)).limit(1)
            )
            if reader is not None:
                raise FileInUse(f"The batch '{reader}' reads this file. Cancel it, or wait until it has ended.")
            _delete_file(connection, file_id)

    def stored_bytes(self) -> int:
        with self._database.read() as connection:
            stored = connection.scalar(select(func.sum(files.c.size))) or 0
            results = func.sum(batches.c.output_bytes + batches.c.error_bytes)
            running = connection.scalar(select(results).where(batches.c.status.in_(ACTIVE))) or 0
            return int(stored) + int(running)

    def purge(self) -> None:
        """Delete what has expired, unless another server does."""
        now = self._clock()
        with self._database.read() as connection:
            read = select(batches.c.input_file_id).where(batches.c.status.in_(ACTIVE))
            expired = select(files.c.id).where(files.c.expires_at <= now, files.c.id.not_in(read))
            ids = connection.scalars(expired).all()
        for file_id in ids:  # one transaction each: other writers wait meanwhile
            with self._database.sweep() as connection:
                if connection is None:
                    return
                _delete_file(connection, file_id)
        with self._database.sweep() as connection:
            if connection is not None:
                old = batches.c.created_at <= now - max(self.keep, _LEAST_KEEP)
                connection.execute(delete(batches).where(old, batches.c.status.not_in(ACTIVE)))


_UPLOAD_TIME = timedelta(hours=1)
"""After this the parts of an upload whose server was killed are deleted."""
_LEAST_KEEP = timedelta(days=1)
"""The records of batches outlive their files by this much, so that a client can read how its batch ended."""


def new_file_id() -> str:
    return "file-" + uuid.uuid4().hex


def insert_file(connection: Connection, file: StoredFile, *, is_complete: bool = True) -> None:
    values = {column.name: getattr(file, column.name) for column in _COLUMNS}
    connection.execute(insert(files).values(is_complete=is_complete, **values))


def read_file(connection: Connection, key_id: str, file_id: str, now: datetime) -> StoredFile:
    """Raises NotFound."""
    owned = (files.c.id == file_id, files.c.key_id == key_id, files.c.expires_at > now, files.c.is_complete)
    row = connection.execute(select(*_COLUMNS).where(*owned)).mappings().first()
    if row is None:
        raise NotFound(f"No such file: '{file_id}'.", param="file_id")
    return _file(row)


def _file(row: Mapping[Any, Any]) -> StoredFile:
    return StoredFile(**{column.name: row[column.name] for column in _COLUMNS})


def _delete_file(connection: Connection, file_id: str) -> None:
    connection.execute(delete(files).where(files.c.id == file_id))
    connection.execute(delete(file_parts).where(file_parts.c.file_id == file_id))
