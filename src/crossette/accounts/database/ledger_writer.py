"""The ledger in a database: entries are queued in memory and written by a background thread.

The queue is bounded. Rows are lost only if the process is killed (the queued ones: those of the last second, or all
since the database became unreachable), or if the queue is full because the database is unreachable for long; the log
and `stats` report their number.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import islice
from sys import getsizeof
from typing import Any

from crossette.accounts.database.daily_usage import usage_rows, used_tokens
from crossette.accounts.database.database import Database, StatementRejected, ValuesRejected
from crossette.accounts.database.rows import delete_rows, insert_each, insert_rows, row_of
from crossette.accounts.ledger import Entry, LedgerStats, UsageQuery, UsageRow
from crossette.accounts.prices import Price
from crossette.errors import ConfigError, DatabaseError

log = logging.getLogger(__name__)

MAX_WAITING = 20_000
"""The most queued rows: minutes of a busy server. Without content they take some 20 MB."""
MAX_QUEUED_BYTES = 64 * 2**20
"""The most bytes of client-controlled text in the queue: content, metadata and the like."""
BATCH_ROWS = 500
BATCH_S = 1.0
RETRY_S = 1.0
MAX_REJECTED_BATCHES = 5
"""After so many rejected batches rows are inserted one by one, since a single row may be the cause."""
DELETE_S = 3600.0
DELETE_BATCH_ROWS = 2000
"""Rows deleted in one transaction, once per write cycle."""
CLOSE_TIMEOUT_S = 10.0
"""How long `close` waits for the last rows."""


class DatabaseLedger:
    """Implements `Ledger`. Only the event loop's thread may call `note`."""

    def __init__(
        self,
        database: Database,
        prices: Mapping[str, Price] | None = None,
        *,
        keeps_content: bool = False,
        keep: timedelta | None = None,
        batch_price: float = 1.0,
    ) -> None:
        """Rows older than `keep` are deleted; None keeps them forever."""
        self.keeps_content = keeps_content
        self._keep = keep
        self._next_deletion = 0.0
        self._database = database
        self._prices = prices or {}
        self._batch_price = batch_price
        self._waiting: deque[tuple[float, Entry]] = deque()
        self._queued_bytes = self._written = self._lost = self._lost_logged = 0
        self._used: Counter[str] = Counter()
        self._failure: str | None = None
        self._num_rejected_batches = 0
        self._lock = threading.Lock()
        self._wake, self._is_closing = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="crossette-ledger", daemon=True)

    def load(self) -> None:
        """Load the usage of all keys so far. Raises DatabaseError."""
        with self._database.read() as connection:
            self._used.update(used_tokens(connection))

    def start(self) -> None:
        self._thread.start()

    def note(self, entry: Entry) -> None:
        self._used[entry.key_id] += entry.usage.total_tokens
        with self._lock:
            if len(self._waiting) >= MAX_WAITING or self._queued_bytes > MAX_QUEUED_BYTES:
                self._lost += 1
                return
            self._waiting.append((time.monotonic(), entry))
            self._queued_bytes += _text_bytes(entry)
            if len(self._waiting) >= BATCH_ROWS:
                self._wake.set()

    def used_tokens(self, key_id: str) -> int:
        return self._used[key_id]

    def usage(self, query: UsageQuery) -> Sequence[UsageRow]:
        with self._database.read() as connection:
            return usage_rows(connection, query)

    def stats(self) -> LedgerStats:
        with self._lock:
            lag = time.monotonic() - self._waiting[0][0] if self._waiting else 0.0
            return LedgerStats(self._written, len(self._waiting), self._lost, lag)

    def close(self) -> None:
        """Write the queued rows if possible, and log how many were lost."""
        self._is_closing.set()
        self._wake.set()
        self._thread.join(CLOSE_TIMEOUT_S)
        with self._lock:
            self._lost += len(self._waiting)
            self._waiting.clear()
        if self._lost > self._lost_logged:
            log.error("The ledger has lost %d rows: %s", self._lost, self._failure or "the database was too slow")

    # --- the thread ---

    def _run(self) -> None:
        while not self._is_closing.is_set():
            self._wake.wait(BATCH_S)
            if not self._write_waiting():
                self._is_closing.wait(RETRY_S)
            self._wake.clear()  # set by rows that have been written by now
            self._delete_old()
        self._write_waiting()

    def _write_waiting(self) -> bool:
        """Write the queued rows in batches. Returns False if that fails; they stay queued then.

        Rows that arrive meanwhile wait for the next cycle: a transaction per row would delay all streams, because the
        writing thread competes with the event loop for the GIL.
        """
        num_remaining = len(self._waiting)
        while batch := self._next_batch(min(num_remaining, BATCH_ROWS)):
            num_remaining -= len(batch)
            try:
                num_written = self._write(batch)
            except DatabaseError as error:
                self._log_failure(error)
                return False
            except Exception:  # a bug: these rows are lost, later ones are not
                log.exception("The ledger cannot write %d rows", len(batch))
                num_written = 0
            self._done(batch, num_written)
        self._log_recovery()
        return True

    def _delete_old(self) -> None:
        """Delete old rows: hourly and in small batches, since other writers are blocked meanwhile."""
        if self._keep is None or time.monotonic() < self._next_deletion:
            return
        before = datetime.now(UTC) - self._keep
        try:
            with self._database.sweep() as connection:
                num_deleted = delete_rows(connection, before, DELETE_BATCH_ROWS) if connection is not None else 0
        except Exception as error:  # the thread must go on: it also writes the rows
            log.warning("Can't delete ledger rows older than %d days: %s", self._keep.days, error)
            num_deleted = 0
        if num_deleted < DELETE_BATCH_ROWS:
            self._next_deletion = time.monotonic() + DELETE_S

    def _next_batch(self, size: int) -> list[Entry]:
        with self._lock:
            return [entry for _, entry in islice(self._waiting, size)]

    def _done(self, batch: Sequence[Entry], num_written: int) -> None:
        with self._lock:
            for _ in range(min(len(batch), len(self._waiting))):  # fewer if `close` timed out meanwhile
                self._queued_bytes -= _text_bytes(self._waiting.popleft()[1])
            self._written += num_written
            self._lost += len(batch) - num_written

    def _write(self, batch: Sequence[Entry]) -> int:
        """Write a batch. Returns the number of written rows; a rejected row does not affect the others."""
        rows = [row_of(entry, self._prices, self._batch_price) for entry in batch]
        if self._failure is not None:  # it may have been recreated, or migrated by a newer version
            with suppress(ConfigError):
                self._database.migrate()
        if self._num_rejected_batches < MAX_REJECTED_BATCHES:
            with suppress(ValuesRejected), self._database.write() as connection:
                insert_rows(connection, rows)
                return len(rows)
        self._num_rejected_batches = 0
        return len(rows) - self._write_each(rows)

    def _write_each(self, rows: list[dict[str, Any]]) -> int:
        """Write rows one by one. Returns the number of lost rows."""
        with self._database.write() as connection:
            rejected = insert_each(connection, rows)
        for row, reason in rejected:
            log.error("The ledger has lost the row of request %s: %s", row["request_id"], reason)
        return len(rejected)

    def _log_failure(self, error: DatabaseError) -> None:
        if self._failure is None:
            log.warning("Can't write the ledger. Up to %d rows are queued until it succeeds: %s", MAX_WAITING, error)
        self._failure = str(error)
        self._num_rejected_batches += isinstance(error, StatementRejected)

    def _log_recovery(self) -> None:
        """Log the number of lost rows once the queue is empty after a failure."""
        if self._failure is not None or self._lost > self._lost_logged:
            self._lost_logged = self._lost
            log.warning("The ledger is up to date. Rows lost since the start of the server: %d", self._lost_logged)
        self._failure = None
        self._num_rejected_batches = 0


def _text_bytes(entry: Entry) -> int:
    """The memory of the client-controlled texts of an entry, in bytes."""
    texts = [entry.model, entry.client, entry.user, entry.request_content, entry.answer_content]
    if entry.metadata:
        texts += [*entry.metadata.keys(), *entry.metadata.values()]
    return sum(getsizeof(text) for text in texts if text)
