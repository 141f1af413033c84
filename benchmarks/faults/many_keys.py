"""Measure a server's list of 100,000 keys: its start, its memory, and how soon changes of keys count."""

from __future__ import annotations

import time
from collections.abc import Callable
from multiprocessing import get_context
from typing import NamedTuple

from common import own_kb
from sqlalchemy import event
from sqlalchemy.engine import Engine

from crossette.accounts.database.authenticator import KeyAuthenticator
from crossette.accounts.database.database import Database
from crossette.accounts.database.keys import Keys
from crossette.errors import Unauthorized
from faults.rows import Options, Row, median_and_worst
from support.postgres import cluster

NUM_KEYS = 100_000
CHANGES = 5

_INSERT = f"""
INSERT INTO keys (id, name, version, hash, created_at, is_admin, limits)
SELECT 'key-' || lpad(to_hex(n), 8, '0'), 'user ' || n, 1, encode(sha256(n::text::bytea), 'hex'),
    timezone('utc', now()), false, '{{"requests_per_minute": 60}}' FROM generate_series(1, {NUM_KEYS}) AS n
"""


class Found(NamedTuple):
    read_s: float
    cpu_s: float
    grown_kb: int
    opened_s: list[float]
    closed_s: list[float]
    num_statements: float
    """A second, while nothing changes."""


def many_keys(options: Options) -> list[Row]:
    with cluster() as postgres:
        database = Database(url := postgres.migrated())
        with database.write() as connection:
            connection.exec_driver_sql(_INSERT)
        database.close()
        with get_context("spawn").Pool(1) as pool:  # whose memory is only this
            found = pool.apply(_measure, (url,))
    fault = f"{NUM_KEYS:,} keys in PostgreSQL"
    return [
        Row(fault, "all read, s; CPU time of it in the server, s", f"{found.read_s:.1f}; {found.cpu_s:.1f}"),
        Row(fault, "memory of the server for them, MiB", f"{found.grown_kb / 1024:.0f}"),
        Row(fault, f"a new key opens after, s: median, worst of {CHANGES}", median_and_worst(found.opened_s, 2)),
        Row(fault, f"a revoked key closes after, s: median, worst of {CHANGES}", median_and_worst(found.closed_s, 2)),
        Row(fault, "statements a second while no key changes", f"{found.num_statements:.1f}"),
    ]


def _measure(url: str) -> Found:
    server, admin = Database(url), Keys(Database(url))
    access = KeyAuthenticator(Keys(server))
    with server.read():
        pass  # connected
    memory, begun, cpu = own_kb("VmRSS"), time.perf_counter(), time.process_time()
    access.refresh()
    read = time.perf_counter() - begun, time.process_time() - cpu, own_kb("VmRSS") - memory
    access.start()
    opened, closed = [], []
    for number in range(CHANGES):
        _, text = admin.create(f"new {number}")
        opened.append(_seconds_until(lambda text=text: _is_known(access, text)))  # type: ignore[misc]
        admin.revoke(f"new {number}")
        closed.append(_seconds_until(lambda text=text: not _is_known(access, text)))  # type: ignore[misc]
    statements: list[str] = []
    event.listen(Engine, "before_cursor_execute", lambda *arguments: statements.append(arguments[2]))
    time.sleep(10)
    access.close()
    return Found(*read, opened, closed, len(statements) / 10)


def _is_known(access: KeyAuthenticator, text: str) -> bool:
    try:
        access.caller(text)
    except Unauthorized:
        return False
    return True


def _seconds_until(condition: Callable[[], bool]) -> float:
    begun = time.perf_counter()
    while not condition():
        time.sleep(0.01)
    return time.perf_counter() - begun
