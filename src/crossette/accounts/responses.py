"""Stored responses: the protocol `ResponseStore`, and a store in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Protocol

MAX_ROWS = 1000
MAX_BYTES = 64 * 2**20
"""What a store in memory holds at most: beyond it, the oldest responses are dropped."""


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """A response, with what it answers. It belongs to a key."""

    id: str
    key_id: str
    previous_id: str | None
    """The response that it continues."""
    created_at: datetime
    input: bytes
    """Its own input items, as a JSON list."""
    response: bytes
    """The response, as JSON."""
    alive_until: datetime | None = None
    """Of a response that is not finished: its server works on it, unless this time has passed."""

    @property
    def size(self) -> int:
        return len(self.input) + len(self.response)


class ResponseStore(Protocol):
    """Stores responses for a limited time. Every method may block, and raises DatabaseError."""

    def save(self, stored: StoredResponse) -> None:
        """Insert a response, or replace it."""

    def update(self, stored: StoredResponse) -> bool:
        """Replace a response that is not finished. Returns whether there is one: it may have been cancelled."""

    def find(self, key_id: str, response_id: str) -> StoredResponse | None:
        """A response of this key; None if there is none, or no longer."""

    def keep_alive(self, response_id: str, until: datetime) -> bool:
        """Set `alive_until` of a response that is not finished. Returns whether there is one."""

    def delete(self, key_id: str, response_id: str) -> bool:
        """Delete a response of this key. Returns whether there was one."""

    def latest(self, key_id: str, limit: int, *, before: datetime | None = None) -> Sequence[StoredResponse]:
        """Up to `limit` responses of this key, created before a time, newest first."""


class MemoryResponses:
    """A `ResponseStore` in memory, which ends with the process."""

    def __init__(self, keep: timedelta, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._keep = keep
        self._now = now
        self._rows: dict[str, StoredResponse] = {}
        self._bytes = 0

    def save(self, stored: StoredResponse) -> None:
        self._drop(stored.id)
        self._rows[stored.id] = stored
        self._bytes += stored.size
        while self._rows and (len(self._rows) > MAX_ROWS or self._bytes > MAX_BYTES):
            self._drop(next(iter(self._rows)))

    def update(self, stored: StoredResponse) -> bool:
        found = self._rows.get(stored.id)
        if found is None or found.alive_until is None:
            return False
        self.save(stored)
        return True

    def find(self, key_id: str, response_id: str) -> StoredResponse | None:
        self._expire()
        found = self._rows.get(response_id)
        return found if found is not None and found.key_id == key_id else None

    def keep_alive(self, response_id: str, until: datetime) -> bool:
        found = self._rows.get(response_id)
        if found is None or found.alive_until is None:
            return False
        self._rows[response_id] = replace(found, alive_until=until)
        return True

    def delete(self, key_id: str, response_id: str) -> bool:
        found = self.find(key_id, response_id)
        self._drop(response_id if found is not None else "")
        return found is not None

    def latest(self, key_id: str, limit: int, *, before: datetime | None = None) -> Sequence[StoredResponse]:
        self._expire()
        rows = (row for row in self._rows.values() if row.key_id == key_id)
        older = [row for row in rows if before is None or row.created_at < before]
        return sorted(older, key=lambda row: row.created_at, reverse=True)[:limit]

    def _expire(self) -> None:
        end = self._now() - self._keep
        for old in [row.id for row in self._rows.values() if row.created_at <= end]:
            self._drop(old)

    def _drop(self, response_id: str) -> None:
        dropped = self._rows.pop(response_id, None)
        self._bytes -= dropped.size if dropped is not None else 0


@dataclass(frozen=True, slots=True)
class ResponsesByCaller:
    """A `ResponseStore` with two stores: for the responses of keys, and for those of callers without a key."""

    of_keys: ResponseStore
    of_others: ResponseStore

    def _store(self, key_id: str) -> ResponseStore:
        return self.of_keys if key_id else self.of_others

    def save(self, stored: StoredResponse) -> None:
        self._store(stored.key_id).save(stored)

    def update(self, stored: StoredResponse) -> bool:
        return self._store(stored.key_id).update(stored)

    def find(self, key_id: str, response_id: str) -> StoredResponse | None:
        return self._store(key_id).find(key_id, response_id)

    def keep_alive(self, response_id: str, until: datetime) -> bool:
        return self.of_keys.keep_alive(response_id, until) or self.of_others.keep_alive(response_id, until)

    def delete(self, key_id: str, response_id: str) -> bool:
        return self._store(key_id).delete(key_id, response_id)

    def latest(self, key_id: str, limit: int, *, before: datetime | None = None) -> Sequence[StoredResponse]:
        return self._store(key_id).latest(key_id, limit, before=before)
