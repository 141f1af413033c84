"""What the endpoints of files and batches share: the stores, their settings, and threads for the database."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar

from starlette.requests import Request

from crossette.accounts.access import ANONYMOUS, Caller
from crossette.accounts.batches import BatchStore
from crossette.accounts.files import FileStore
from crossette.accounts.settings import FileSettings
from crossette.api.exchange import Exchange
from crossette.api.worker_pool import WorkerPool
from crossette.errors import DatabaseError, Forbidden, Overloaded, RequestTooLarge, Unsupported

log = logging.getLogger(__name__)

T = TypeVar("T")

_RETRY_AFTER_S = 5.0
_TIMEOUT_S = 600.0
"""An upload of the largest file takes that long on a slow database."""


def _workers() -> WorkerPool:
    return WorkerPool("files", 4, max_waiting=64, waits_for="for the database of files", timeout_s=_TIMEOUT_S)


@dataclass(frozen=True, slots=True)
class Storage:
    """Files and batches of a server that stores them."""

    files: FileStore
    batches: BatchStore
    settings: FileSettings = field(default_factory=FileSettings)
    caller_of: Callable[[str], Caller] = lambda key_id: ANONYMOUS
    """The caller of a key id, for requests that run later. Raises Unauthorized."""
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    workers: WorkerPool = field(default_factory=_workers)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a client created or cancelled a batch."""

    async def run(self, work: Callable[[], T]) -> T:
        """Run `work` on the database in a thread. Raises what it raises, and Overloaded instead of DatabaseError."""
        try:
            return await self.workers.run(work)
        except (DatabaseError, TimeoutError) as error:
            log.warning("Files and batches cannot be read or written: %s", str(error) or "the database is too slow")
            raise Overloaded("The files cannot be read or written now.", retry_after=_RETRY_AFTER_S) from error

    async def check_room(self, size: int = 0) -> None:
        """Raise RequestTooLarge if `size` more bytes exceed what the server stores in all."""
        stored = await self.run(self.files.stored_bytes)
        if stored + size > self.settings.max_stored_bytes:
            raise RequestTooLarge(
                f"The files of this server have {stored} bytes, and the limit is {self.settings.max_stored_bytes}. "
                "Delete files that are not needed any more, or ask the administrator.",
                hint="--max-stored-bytes is the limit",
            )


def stored(storage: Storage | None) -> Storage:
    """The storage of a server that stores files. Raises Unsupported for one that does not."""
    if storage is None:
        raise Unsupported(
            "This server stores no files, so it has no /files and no /batches: its setting store_files is not set.",
            hint="--store-files DURATION stores them, such as --store-files 7d",
        )
    return storage


def owner_of(request: Request) -> str:
    """The key id that files and batches of a request belong to: "" for the only user of a server without keys.

    Raises Forbidden for a request without a key on a server that has keys: strangers would share their files.
    """
    caller = Exchange.of(request.scope).caller
    if not caller.id and not caller.is_admin:
        raise Forbidden("Files and batches belong to a key. Send one as 'Authorization: Bearer KEY'.")
    return caller.id
