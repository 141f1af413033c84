"""Measure a temporary full disk and a temporarily locked database, on the fake engine.

The disk is full for the server's process only: with RLIMIT_FSIZE at 0 it cannot write files, and setting that needs no
privileges. A real full file system, which needs root, is in the tests.
"""

from __future__ import annotations

import asyncio
import resource
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager

from common import Served, database, fake, serving
from peers.requests import completion, connect, post

from crossette.client.bench.request import RequestResult
from faults.crowd import is_complete
from faults.ends import rows
from faults.rows import Options, Row
from faults.server import Watch

FAULT_S = 8.0
CLIENTS = 8

Fault = Callable[[Served, str], AbstractContextManager[None]]


@contextmanager
def full_disk(served: Served, url: str) -> Iterator[None]:
    soft, hard = resource.prlimit(served.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(served.pid, resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.prlimit(served.pid, resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def locked_database(served: Served, url: str) -> Iterator[None]:
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None, timeout=30)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


FAULTS: dict[str, Fault] = {
    f"no file can be written for {FAULT_S:.0f} s": full_disk,
    f"the database is locked for {FAULT_S:.0f} s": locked_database,
}


def storage(options: Options) -> list[Row]:
    return [row for name, fault in FAULTS.items() for row in _measure(name, fault)]


def _measure(name: str, fault: Fault) -> list[Row]:
    with (
        database() as url,
        serving([*fake(), "--database-url", url]) as served,
        closing(Watch(served)) as watch,
    ):
        before = asyncio.run(_send_for(served, 1.0))
        watch.wait_for(lambda ledger: ledger["written"] == len(before), watch.ledger)
        with fault(served, url):
            during = asyncio.run(_send_for(served, FAULT_S))
            waiting = watch.ledger()["waiting"]
        begun = time.perf_counter()
        after = watch.wait_for(lambda ledger: ledger["waiting"] == 0, watch.ledger)
        back_s = time.perf_counter() - begun
        stored, is_intact = rows(url)
    answered = [result.total_s for result in during if is_complete(result)]
    missing = len(before) + len(during) - len(stored)
    return [
        Row(name, "requests answered during the fault; the longest, ms", _answered(answered, len(during))),
        Row(name, "rows waiting at its end, rows reported lost", f"{waiting:.0f}, {after['lost']:.0f}"),
        Row(name, "all written after, s; rows missing; file intact", f"{back_s:.1f}; {missing}; {_yes(is_intact)}"),
    ]


def _answered(seconds: list[float], num_requests: int) -> str:
    return f"{len(seconds)} of {num_requests}; {max(seconds, default=0) * 1000:.0f}"


def _yes(value: bool) -> str:
    return "yes" if value else "no"


async def _send_for(served: Served, seconds: float) -> list[RequestResult]:
    """Send short requests for `seconds`, sequentially from each client."""
    limit = time.perf_counter() + seconds

    async def client() -> list[RequestResult]:
        results = []
        with connect(served) as connection:
            while time.perf_counter() < limit:
                results.append(await post(connection, completion(served, "Hello", 16)))
        return results

    return [result for one in await asyncio.gather(*(client() for _ in range(CLIENTS))) for result in one]
