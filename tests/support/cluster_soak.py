"""Streams for a time through a proxy to two replicas with one PostgreSQL, and what they leave in memory and in rows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psycopg

from crossette.accounts.access import Limits
from crossette.accounts.database.database import Database
from crossette.accounts.database.keys import Keys
from support.haproxy import haproxy
from support.postgres import Cluster
from support.replica_server import replicas
from support.stream_load import Seen, stream_load

PACE_S = 0.05
LIMITS = Limits(requests_per_minute=10**6, concurrent_requests=1000, total_tokens=2**52)


@dataclass(frozen=True)
class Outcome:
    """What clients saw, the rows in the database, and the memory of each process over time."""

    seen: Seen
    num_rows: int
    """Rows of the ledger with status 200."""
    used_tokens: int
    """What the account of the key has."""
    ledger_tokens: int
    """What the ledger has."""
    num_leases: int
    """Places that no request holds any more."""
    resident: Mapping[str, list[int]]
    """Resident bytes of each process, in equal intervals."""

    def growth(self, name: str) -> int:
        """The growth of a process in the second half, in bytes."""
        samples = self.resident[name]
        settled = samples[len(samples) // 2 :]
        return max(settled) - settled[0]


def soak(
    folder: Path, postgres: Cluster, seconds: float, *, num_samples: int = 40, report: Callable[[str], None] = print
) -> Outcome:
    url = postgres.migrated()
    key = _new_key(url)  # before the servers start: without keys they are open
    with ExitStack() as stack:
        both = stack.enter_context(replicas(pace_s=PACE_S, database_url=url, drain_delay=1))
        proxy = stack.enter_context(haproxy(folder, [each.port for each in both]))
        pids = {**{each.name: each.process.pid for each in both}, "proxy": proxy.pid}
        resident: dict[str, list[int]] = {name: [] for name in pids}

        async def sample(seen: Seen) -> None:
            begun = time.monotonic()
            for number in range(1, num_samples + 1):
                await asyncio.sleep(begun + number * seconds / num_samples - time.monotonic())
                for name, pid in pids.items():
                    resident[name].append(resident_bytes(pid))
                shown = ", ".join(f"{name} {sizes[-1] / 2**20:.1f}" for name, sizes in resident.items())
                report(f"{time.monotonic() - begun:5.0f} s  {seen.complete.total():6} requests  MiB: {shown}")

        seen = asyncio.run(stream_load(proxy.root, sample, key=key))
        assert [each.stop() for each in both] == [0, 0]
    return Outcome(seen, *_left(url), resident)


def resident_bytes(pid: int) -> int:
    (line,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024


def _new_key(url: str) -> str:
    database = Database(url)
    try:
        return Keys(database).create("soak", limits=LIMITS)[1]
    finally:
        database.close()


def _left(url: str) -> tuple[int, int, int, int]:
    with psycopg.connect(url, autocommit=True) as connection:
        found = connection.execute(
            "SELECT (SELECT count(*) FROM requests WHERE status = 200), (SELECT sum(used_tokens) FROM accounts), "
            "(SELECT sum(prompt_tokens + completion_tokens) FROM days), (SELECT count(*) FROM leases)"
        ).fetchone()
    assert found is not None
    rows, used, spent, leases = map(int, found)
    return rows, used, spent, leases
