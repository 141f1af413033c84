"""Files that clients upload or batches write: their records, and the protocol `FileStore`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")

MIN_KEEP, MAX_KEEP = timedelta(hours=1), timedelta(days=365)
"""The limits of how long a server keeps files."""

PART_BYTES = 2**20
"""The size of a part of an uploaded file; a part is what a transaction writes and a download holds in memory."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """The record of a file. Times have a time zone."""

    id: str
    key_id: str
    """The key that owns it; empty without keys."""
    purpose: str
    filename: str
    size: int
    created_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class PageQuery:
    """A part of a list: up to `limit` records that follow the one with the id `after`."""

    limit: int
    after: str | None = None
    newest_first: bool = True


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A part of a list."""

    records: Sequence[T]
    has_more: bool


class FileStore(Protocol):
    """Stores files by owner: a file of another key is not found. Blocks: call it in a thread. Raises DatabaseError."""

    @property
    def keep(self) -> timedelta:
        """How long a file is kept at most."""

    def create(
        self, key_id: str, *, purpose: str, filename: str, parts: Iterable[bytes], keep: timedelta
    ) -> StoredFile:
        """Store a file. It is visible once all its parts are written."""

    def get(self, key_id: str, file_id: str) -> StoredFile:
        """Raises NotFound, also for an expired file."""

    def list(self, key_id: str, query: PageQuery, purpose: str | None = None) -> Page[StoredFile]:
        """The files of a key, by creation time. Raises NotFound for an unknown `after`."""

    def parts(self, file_id: str) -> Iterator[bytes]:
        """The contents, one part at a time."""

    def delete(self, key_id: str, file_id: str) -> None:
        """Delete a file. Raises NotFound; FileInUse while a batch reads it."""

    def stored_bytes(self) -> int:
        """The bytes of all files, and of the results of running batches."""

    def purge(self) -> None:
        """Delete expired files, and batches that ended longer ago than files are kept."""
