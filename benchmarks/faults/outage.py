"""Measure a PostgreSQL that is away for ten seconds, and how soon the places of a killed replica come back."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Sequence

import httpx
import psycopg

from crossette.accounts.access import UNLIMITED, Limits
from crossette.accounts.database.database import Database
from crossette.accounts.database.keys import Keys
from faults.rows import Options, Row
from support.api_server import say
from support.postgres import Cluster, cluster
from support.replica_server import ReplicaServer, replicas

AWAY_S = 10.0
AROUND_S = 3.0
LIMIT_S = 60
KILLS = 3


def outage(options: Options) -> list[Row]:
    with cluster() as postgres:
        url = postgres.migrated()
        free, limited = _keys(url, UNLIMITED, Limits(requests_per_minute=100_000))
        with replicas(database_url=url) as both:
            loads = [Load(both, free), Load(both, limited)]
            asyncio.run(_while_away(postgres, loads))
            stopped = [each.stop() for each in both]
        (rows, used) = _left(url)
    fault = f"PostgreSQL away for {AWAY_S:.0f} s, under 8 clients of two replicas"
    answers = sum((load.statuses for load in loads), Counter[int]())
    return [
        Row(fault, "requests of a key without limits while it is away: answered, others", loads[0].found()),
        Row(fault, "requests of a key with limits while it is away: answered, others", loads[1].found()),
        Row(fault, "answers in all, rows in the ledger", f"{answers[200]}, {rows}"),
        Row(fault, "tokens used by the key with limits, in its account", f"{3 * loads[1].statuses[200]}, {used}"),
        Row(fault, "exit statuses of the replicas", ", ".join(map(str, stopped))),
    ]


class Load:
    """Short requests of one key to replicas in turn, and what they got while the database was away."""

    def __init__(self, both: Sequence[ReplicaServer], key: str) -> None:
        self._roots = [each.root for each in both]
        self._headers = {"authorization": f"Bearer {key}"}
        self.statuses: Counter[int] = Counter()
        self.away: list[tuple[int, float]] = []
        """Status and seconds of each."""
        self.is_away = False

    async def run(self, over: asyncio.Event) -> None:
        async with httpx.AsyncClient(timeout=LIMIT_S, verify=False, headers=self._headers) as http:
            while not over.is_set():
                root, is_away = self._roots[self.statuses.total() % 2], self.is_away
                begun = time.perf_counter()
                body = {"model": "fake", "prompt": "a", "max_tokens": 2}
                status = (await http.post(f"{root}/v1/completions", json=body)).status_code
                self.statuses[status] += 1
                if is_away:
                    self.away.append((status, time.perf_counter() - begun))
                await asyncio.sleep(0.02)

    def found(self) -> str:
        answered = sum(status == 200 for status, _ in self.away)
        longest = 1000 * max(seconds for _, seconds in self.away)
        return f"{answered}, {len(self.away) - answered}; the longest {longest:.0f} ms"


async def _while_away(postgres: Cluster, loads: Sequence[Load]) -> None:
    over = asyncio.Event()
    workers = [asyncio.create_task(load.run(over)) for load in loads for _ in range(4)]
    await asyncio.sleep(AROUND_S)
    await asyncio.to_thread(postgres.stop, "fast")
    for load in loads:
        load.is_away = True
    await asyncio.sleep(AWAY_S)
    for load in loads:
        load.is_away = False
    await asyncio.to_thread(postgres.start)
    await asyncio.sleep(AROUND_S)
    over.set()
    await asyncio.gather(*workers)


def places(options: Options) -> list[Row]:
    with cluster() as postgres:
        seconds = [asyncio.run(_until_back(postgres.migrated())) for _ in range(KILLS)]
    fault = f"kill -9 of a replica that holds all three places of a key, {KILLS} times"
    return [Row(fault, "seconds until another replica gives the first one", ", ".join(f"{s:.1f}" for s in seconds))]


async def _until_back(url: str) -> float:
    (key,) = _keys(url, Limits(concurrent_requests=3))
    with replicas(pace_s=0.02, database_url=url) as (killed, staying):
        async with httpx.AsyncClient(timeout=LIMIT_S, verify=False, headers={"authorization": f"Bearer {key}"}) as http:

            def ask(server: ReplicaServer, length: int) -> asyncio.Task[httpx.Response]:
                body = {"model": "fake", "prompt": say("x" * length), "max_tokens": 2000}
                return asyncio.create_task(http.post(f"{server.root}/v1/completions", json=body))

            held = [ask(killed, 1500) for _ in range(3)]
            while await asyncio.to_thread(killed.num_running) < 3 or (await ask(staying, 1)).status_code != 429:
                await asyncio.sleep(0.05)
            await asyncio.to_thread(killed.stop, signal.SIGKILL)
            begun = time.perf_counter()
            while (await ask(staying, 1)).status_code == 429:
                await asyncio.sleep(0.1)
            back = time.perf_counter() - begun
            await asyncio.gather(*held, return_exceptions=True)
    return back


def _keys(url: str, *limits: Limits) -> list[str]:
    """The texts of new keys with these limits."""
    database = Database(url)
    try:
        return [Keys(database).create(f"key {number}", limits=each)[1] for number, each in enumerate(limits)]
    finally:
        database.close()


def _left(url: str) -> tuple[int, int]:
    with psycopg.connect(url, autocommit=True) as connection:
        found = connection.execute(
            "SELECT (SELECT count(*) FROM requests WHERE status = 200), (SELECT sum(used_tokens) FROM accounts)"
        ).fetchone()
    assert found is not None
    return int(found[0]), int(found[1])
