"""A disk that is full and a database that does not answer, and then do again: on the engine without a model.

The disk is full for the server's process alone: with RLIMIT_FSIZE at 0 no file of it may be written, and anybody may
set that for a process of their own. A real full file system, which takes root to make, is in the tests.
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
from faults.crowd import is_whole
from faults.ends import rows
from faults.rows import Options, Row
from faults.server import Watch

AWAY_S = 8.0
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
    f"no file can be written for {AWAY_S:.0f} s": full_disk,
    f"the database is locked for {AWAY_S:.0f} s": locked_database,
}


def storage(options: Options) -> list[Row]:
    return [row for words, fault in FAULTS.items() for row in _measure(words, fault)]


def _measure(words: str, fault: Fault) -> list[Row]:
    with (
        database() as url,
        serving([*fake(), "--database-url", url]) as served,
        closing(Watch(served)) as watch,
    ):
        before = asyncio.run(_ask_for(served, 1.0))
        watch.wait_for(lambda ledger: ledger["written"] == len(before), watch.ledger)
        with fault(served, url):
            meanwhile = asyncio.run(_ask_for(served, AWAY_S))
            waiting = watch.ledger()["waiting"]
        begun = time.perf_counter()
        after = watch.wait_for(lambda ledger: ledger["waiting"] == 0, watch.ledger)
        back_s = time.perf_counter() - begun
        kept, whole = rows(url)
    answered = [result.total_s for result in meanwhile if is_whole(result)]
    missing = len(before) + len(meanwhile) - len(kept)
    return [
        Row(words, "requests answered meanwhile; the longest, ms", _answered(answered, len(meanwhile))),
        Row(words, "rows that wait at its end, lost as the ledger tells", f"{waiting:.0f}, {after['lost']:.0f}"),
        Row(words, "all written after, s; rows missing; the file is whole", f"{back_s:.1f}; {missing}; {_yes(whole)}"),
    ]


def _answered(seconds: list[float], num_requests: int) -> str:
    return f"{len(seconds)} of {num_requests}; {max(seconds, default=0) * 1000:.0f}"


def _yes(so: bool) -> str:
    return "yes" if so else "no"


async def _ask_for(served: Served, seconds: float) -> list[RequestResult]:
    """Ask for small answers, one after the other from each client, for so long."""
    limit = time.perf_counter() + seconds

    async def client() -> list[RequestResult]:
        results = []
        with connect(served) as connection:
            while time.perf_counter() < limit:
                results.append(await post(connection, completion(served, "Hello", 16)))
        return results

    return [result for one in await asyncio.gather(*(client() for _ in range(CLIENTS))) for result in one]
