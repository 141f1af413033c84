"""Measure whether servers that write the daily total of one key wait for each other. Part of scripts/bench-cluster."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from multiprocessing import get_context
from uuid import uuid4

from crossette.accounts.database.database import Database
from crossette.accounts.database.rows import insert_rows, row_of
from crossette.accounts.ledger import Entry
from crossette.types import Usage
from support.postgres import Cluster, admin

NUM_WRITERS = 16
PROCESSES = 4
ROWS = 20
"""A batch of a server that answers 20 requests a second: it writes one each second."""


def measure_daily_totals(postgres: Cluster, num_batches: int = 10) -> None:
    """Print how long a batch takes if all servers write the day of one key, and if each writes that of its own."""
    with admin(postgres.url) as owner:  # as in production: a row is held until its commit is on the disk
        owner.execute("ALTER SYSTEM SET fsync = on")
        owner.execute("SELECT pg_reload_conf()")
    for pace_s in (1.0, 0.0):
        for is_shared in (True, False):
            found = sorted(_write(postgres.url, num_batches, pace_s, is_shared))
            rate = NUM_WRITERS * len(found) / sum(found)
            p50, p99 = (1000 * found[int(len(found) * share)] for share in (0.5, 0.99))
            how = f"each a batch of {ROWS} rows " + ("a second" if pace_s else f"without a pause, {rate:.0f} batches/s")
            whose = "one key" if is_shared else "a key each"
            print(f"daily totals, {NUM_WRITERS} servers, {whose}, {how}: p50 {p50:.0f} ms, p99 {p99:.0f} ms a batch")


def _write(url: str, num_batches: int, pace_s: float, is_shared: bool) -> Sequence[float]:
    tasks = [(url, process, num_batches, pace_s, is_shared) for process in range(PROCESSES)]
    with get_context("spawn").Pool(PROCESSES) as pool:
        return [seconds for each in pool.starmap(_write_from, tasks) for seconds in each]


def _write_from(url: str, process: int, num_batches: int, pace_s: float, is_shared: bool) -> list[float]:
    def writer(number: int) -> list[float]:
        database = Database(url)
        key = "key-shared" if is_shared else f"key-{process}-{number}"
        seconds = [_batch(database, key, pace_s) for _ in range(num_batches)]
        database.close()
        return seconds[1:]  # without the connection

    with ThreadPoolExecutor(NUM_WRITERS // PROCESSES) as pool:
        return [each for found in pool.map(writer, range(NUM_WRITERS // PROCESSES)) for each in found]


def _batch(database: Database, key: str, pace_s: float) -> float:
    time.sleep(random.uniform(0.8, 1.2) * pace_s)
    rows = [row_of(_entry(key), {}) for _ in range(ROWS)]
    begun = time.perf_counter()
    with database.write() as connection:
        insert_rows(connection, rows)
    return time.perf_counter() - begun


def _entry(key: str) -> Entry:
    now, usage = datetime.now(UTC), Usage(100, 50)
    return Entry(uuid4().hex, "", now, key, "openai", "/completions", "fake", 200, 1.0, 0.1, "stop", usage, "", "")
