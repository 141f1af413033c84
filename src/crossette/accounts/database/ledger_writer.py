"""The ledger in a database: noted at once, written behind the request by a thread of its own.

What waits is bounded. Rows are lost only where the process is killed (those that wait: the last second's, or all
since the database went away), or where the database is away for so long that no more can wait; the log and `stats`
say how many.
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
from crossette.accounts.database.database import Database, Rejected, Unwilling
from crossette.accounts.database.rows import delete_rows, insert_each, insert_rows, row_of
from crossette.accounts.ledger import Entry, LedgerStats, UsageQuery, UsageRow
from crossette.accounts.prices import Price
from crossette.errors import ConfigError, StoreError

log = logging.getLogger(__name__)

MAX_WAITING = 20_000
"""Rows: minutes of a busy server. Without their texts they take some 20 MB."""
MAX_CONTENT = 64 * 2**20
"""Bytes of the texts that may wait with them: content, metadata, and what else a client chooses."""
BATCH_ROWS = 500
BATCH_S = 1.0
RETRY_S = 1.0
PATIENCE = 5
"""Turns in which a database that is there refuses all rows, before they are tried one by one: it may be one's fault."""
DELETE_S = 3600.0
DELETED_ROWS = 2000
"""In one transaction, of which there is one in a turn."""
LAST_WORDS_S = 10.0
"""How long the end of the process waits for the last rows."""


class DatabaseLedger:
    """Implements `Ledger`. `note` is for one thread, that of the event loop."""

    def __init__(
        self,
        database: Database,
        prices: Mapping[str, Price] | None = None,
        *,
        keeps_content: bool = False,
        keep: timedelta | None = None,
    ) -> None:
        """Rows are deleted once they are older than `keep`; None keeps them for ever."""
        self.keeps_content = keeps_content
        self._keep = keep
        self._next_look = 0.0
        self._database = database
        self._prices = prices or {}
        self._waiting: deque[tuple[float, Entry]] = deque()
        self._content = self._written = self._lost = self._lost_told = 0
        self._used: Counter[str] = Counter()
        self._failure: str | None = None
        self._num_refusals = 0
        self._lock = threading.Lock()
        self._wake, self._is_ending = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="crossette-ledger", daemon=True)

    def load(self) -> None:
        """Learn what keys have used so far. Raises StoreError."""
        with self._database.read() as connection:
            self._used.update(used_tokens(connection))

    def start(self) -> None:
        self._thread.start()

    def note(self, entry: Entry) -> None:
        self._used[entry.key_id] += entry.usage.total_tokens
        with self._lock:
            if len(self._waiting) >= MAX_WAITING or self._content > MAX_CONTENT:
                self._lost += 1
                return
            self._waiting.append((time.monotonic(), entry))
            self._content += _content_of(entry)
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
        """Write what waits, if the database takes it; say what is lost."""
        self._is_ending.set()
        self._wake.set()
        self._thread.join(LAST_WORDS_S)
        with self._lock:
            self._lost += len(self._waiting)
            self._waiting.clear()
        if self._lost > self._lost_told:
            log.error("The ledger has lost %d rows: %s", self._lost, self._failure or "the database was too slow")

    # --- the thread ---

    def _run(self) -> None:
        while not self._is_ending.is_set():
            self._wake.wait(BATCH_S)
            if not self._write_waiting():
                self._is_ending.wait(RETRY_S)
            self._wake.clear()  # rows that are being written have woken it for nothing
            self._delete_old()
        self._write_waiting()

    def _write_waiting(self) -> bool:
        """Write what waits now, batch by batch; False if the database is away, and then the rest goes on waiting.

        What comes meanwhile is the next turn's: a transaction for each row would disturb every token, for a thread
        that writes fights for the interpreter's lock with the one that sends.
        """
        num_left = len(self._waiting)
        while batch := self._next_batch(min(num_left, BATCH_ROWS)):
            num_left -= len(batch)
            try:
                num_written = self._write(batch)
            except StoreError as error:
                self._tell_failure(error)
                return False
            except Exception:  # a mistake of ours: the rows are lost, but those behind them are not
                log.exception("The ledger cannot write %d rows", len(batch))
                num_written = 0
            self._done(batch, num_written)
        self._tell_losses()
        return True

    def _delete_old(self) -> None:
        """Once an hour, and a few at a time, for nobody else can write meanwhile."""
        if self._keep is None or time.monotonic() < self._next_look:
            return
        before = datetime.now(UTC) - self._keep
        try:
            with self._database.write() as connection:
                num_deleted = delete_rows(connection, before, DELETED_ROWS)
        except Exception as error:  # without this thread no row would be written
            log.warning("Rows older than %d days cannot be deleted: %s", self._keep.days, error)
            num_deleted = 0
        if num_deleted < DELETED_ROWS:
            self._next_look = time.monotonic() + DELETE_S

    def _next_batch(self, size: int) -> list[Entry]:
        with self._lock:
            return [entry for _, entry in islice(self._waiting, size)]

    def _done(self, batch: Sequence[Entry], num_written: int) -> None:
        with self._lock:
            for _ in range(min(len(batch), len(self._waiting))):  # fewer if `close` has given up meanwhile
                self._content -= _content_of(self._waiting.popleft()[1])
            self._written += num_written
            self._lost += len(batch) - num_written

    def _write(self, batch: Sequence[Entry]) -> int:
        """How many of the rows are in the database now. One that it does not take must not take others along."""
        rows = [row_of(entry, self._prices) for entry in batch]
        if self._failure is not None:  # it may come back empty, or as a newer version left it: it may take the rows
            with suppress(ConfigError):
                self._database.migrate()
        if self._num_refusals < PATIENCE:
            with suppress(Rejected), self._database.write() as connection:
                insert_rows(connection, rows)
                return len(rows)
        self._num_refusals = 0
        return len(rows) - self._write_each(rows)

    def _write_each(self, rows: list[dict[str, Any]]) -> int:
        """How many of the rows are lost."""
        with self._database.write() as connection:
            refused = insert_each(connection, rows)
        for row, reason in refused:
            log.error("The ledger has lost the row of request %s: %s", row["request_id"], reason)
        return len(refused)

    def _tell_failure(self, error: StoreError) -> None:
        if self._failure is None:
            log.warning("The ledger waits, with up to %d rows, until it can be written: %s", MAX_WAITING, error)
        self._failure = str(error)
        self._num_refusals += isinstance(error, Unwilling)

    def _tell_losses(self) -> None:
        """Once everything is written that could be."""
        if self._failure is not None or self._lost > self._lost_told:
            self._lost_told = self._lost
            log.warning("The ledger is up to date. Lost since the server's start: %d rows", self._lost_told)
        self._failure = None
        self._num_refusals = 0


def _content_of(entry: Entry) -> int:
    """Bytes of memory."""
    texts = [entry.model, entry.client, entry.user, entry.request_content, entry.answer_content]
    if entry.metadata:
        texts += [*entry.metadata.keys(), *entry.metadata.values()]
    return sum(getsizeof(text) for text in texts if text)
