"""Stored responses in the database, deleted once they are old."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Row, delete, insert, select, update

from crossette.accounts.database.database import Database
from crossette.accounts.database.tables import responses
from crossette.accounts.responses import StoredResponse
from crossette.errors import DatabaseError

log = logging.getLogger(__name__)

_DELETE_S = 3600.0
_DELETE_ROWS = 500
"""Rows deleted in one transaction, since other writers are blocked meanwhile."""
_CLOSE_TIMEOUT_S = 10.0


class DatabaseResponses:
    """Implements `ResponseStore`. A thread deletes expired rows every hour, from `start` to `close`."""

    def __init__(
        self, database: Database, keep: timedelta, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._database = database
        self._keep = keep
        self._now = now
        self._is_closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="crossette-responses", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._is_closing.set()
        self._thread.join(_CLOSE_TIMEOUT_S)

    def save(self, stored: StoredResponse) -> None:
        row = {
            "id": stored.id,
            "key_id": stored.key_id,
            "previous_id": stored.previous_id,
            "created_at": stored.created_at,
            "expires_at": stored.created_at + self._keep,
            "alive_until": stored.alive_until,
            "input": stored.input.decode(),
            "response": stored.response.decode(),
        }
        with self._database.write() as connection:
            connection.execute(delete(responses).where(responses.c.id == stored.id))
            connection.execute(insert(responses), [row])

    def update(self, stored: StoredResponse) -> bool:
        query = update(responses).where(responses.c.id == stored.id, responses.c.alive_until.is_not(None))
        values = {"response": stored.response.decode(), "alive_until": stored.alive_until}
        with self._database.write() as connection:
            return connection.execute(query.values(values)).rowcount > 0

    def find(self, key_id: str, response_id: str) -> StoredResponse | None:
        query = select(responses).where(
            responses.c.id == response_id, responses.c.key_id == key_id, responses.c.expires_at > self._now()
        )
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else _stored(row)

    def keep_alive(self, response_id: str, until: datetime) -> bool:
        query = update(responses).where(responses.c.id == response_id, responses.c.alive_until.is_not(None))
        with self._database.write() as connection:
            return connection.execute(query.values(alive_until=until)).rowcount > 0

    def delete(self, key_id: str, response_id: str) -> bool:
        query = delete(responses).where(responses.c.id == response_id, responses.c.key_id == key_id)
        with self._database.write() as connection:
            return connection.execute(query).rowcount > 0

    def latest(self, key_id: str, limit: int, *, before: datetime | None = None) -> Sequence[StoredResponse]:
        query = select(responses).where(responses.c.key_id == key_id, responses.c.expires_at > self._now())
        if before is not None:
            query = query.where(responses.c.created_at < before)
        query = query.order_by(responses.c.created_at.desc(), responses.c.id).limit(limit)
        with self._database.read() as connection:
            return [_stored(row) for row in connection.execute(query)]

    def purge(self) -> int:
        """Delete expired rows, and return their number. Raises DatabaseError."""
        old = select(responses.c.id).where(responses.c.expires_at <= self._now()).limit(_DELETE_ROWS)
        total = 0
        while True:
            with self._database.sweep() as connection:
                if connection is None:
                    return total
                deleted = connection.execute(delete(responses).where(responses.c.id.in_(old))).rowcount
            total += deleted
            if deleted < _DELETE_ROWS:
                return total

    def _run(self) -> None:
        while True:
            try:
                self.purge()
            except DatabaseError as error:
                log.warning("Can't delete expired responses: %s", error)
            if self._is_closing.wait(_DELETE_S):
                return


def _stored(row: Row[Any]) -> StoredResponse:
    return StoredResponse(
        row.id,
        row.key_id,
        row.previous_id,
        row.created_at,
        row.input.encode(),
        row.response.encode(),
        row.alive_until,
    )
