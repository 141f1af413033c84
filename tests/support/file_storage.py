"""Files and batches of a test's server, in an SQLite file of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from crossette.accounts.access import ANONYMOUS, Caller
from crossette.accounts.database.batches import DatabaseBatches
from crossette.accounts.database.database import Database
from crossette.accounts.database.files import DatabaseFiles
from crossette.accounts.settings import FileSettings
from crossette.api.storage import Storage

KEEP = timedelta(days=30)


@contextmanager
def storage(
    folder: Path,
    *,
    caller_of: Callable[[str], Caller] = lambda key_id: ANONYMOUS,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    keep: timedelta = KEEP,
    **settings: Any,  # Any: fields of FileSettings
) -> Iterator[Storage]:
    """The storage in a folder; what an earlier one left there is still there."""
    database = Database(f"sqlite:///{folder}/crossette.db")
    database.migrate()
    files, batches = DatabaseFiles(database, keep, clock), DatabaseBatches(database, keep, clock)
    yield Storage(files, batches, FileSettings(**settings), caller_of, clock)
    database.close()
