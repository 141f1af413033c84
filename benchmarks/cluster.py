"""Measure what replicas add to one server: the proxy before them, and the shared limits. Run by scripts/bench-cluster.

Needs HAProxy and PostgreSQL. Tokens per second of a busy machine say little; the CPU time of a token says more.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from multiprocessing import get_context
from pathlib import Path

import uvloop
from daily_totals import measure_daily_totals

from crossette.accounts.access import Caller, Limits
from crossette.accounts.database.database import Database
from crossette.accounts.shared.replica import Replica
from support.haproxy import haproxy
from support.postgres import Cluster, cluster
from support.replica_server import replica

NUM_STREAMS = 8
LIMITS = Limits(requests_per_minute=10**9, concurrent_requests=10**6, total_tokens=2**52)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=1000, help="per connection")
    options = parser.parse_args()
    measure_proxy(options.rounds)
    with cluster() as postgres:
        database = Database(postgres.url)
        database.migrate()
        database.close()
        for num_keys, num_clients in ((1000, 1), (1000, NUM_STREAMS), (1, NUM_STREAMS)):
            measure_decisions(postgres, num_keys, num_clients, options.requests)
        measure_daily_totals(postgres)


# --- the proxy ---


def measure_proxy(rounds: int) -> None:
    """Print tokens per second with and without the proxy, alternating, and the CPU time of a token in each process."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(replica("a", database_url=f"sqlite:///{folder}/a.db", log_level="error"))
        proxy = stack.enter_context(haproxy(folder, [server.port]))
        rates: dict[str, list[float]] = {server.root: [], proxy.root: []}
        spent = {"server": 0.0, "proxy": 0.0}
        for _ in range(rounds):
            rates[server.root].append(tokens_per_s(server.root, folder / "report.json"))
            before = cpu_s(server.process.pid), cpu_s(proxy.pid)
            rates[proxy.root].append(tokens_per_s(proxy.root, folder / "report.json"))
            spent["server"] += cpu_s(server.process.pid) - before[0]
            spent["proxy"] += cpu_s(proxy.pid) - before[1]
        direct, through = (median(found) for found in rates.values())
    rate = through / direct
    print(f"{NUM_STREAMS} streams: direct {direct:.0f} tokens/s, through the proxy {through:.0f} ({rate:.0%})")
    share = spent["proxy"] / (spent["server"] + spent["proxy"])
    print(f"CPU through the proxy: server {spent['server']:.2f} s, proxy {spent['proxy']:.2f} s ({share:.0%} of both)")


def tokens_per_s(root: str, report: Path) -> float:
    command = [sys.executable, "-m", "crossette", "bench", "--url", root, "-c", str(NUM_STREAMS), "-n", "96"]
    subprocess.run([*command, "--max-tokens", "256", "--ignore-eos", "--json", report], check=True, capture_output=True)
    rate: float = json.loads(report.read_text())["levels"][0]["output_tokens_per_s"]
    return rate


def cpu_s(pid: int) -> float:
    """The CPU time of a process so far, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# --- decisions ---


def measure_decisions(postgres: Cluster, num_keys: int, num_clients: int, num_requests: int) -> None:
    """Print the latency of decisions of two replicas, each a process, and the CPU time of one: two of a request."""
    num_replicas = min(2, num_clients)
    arguments = [
        (postgres.url, index, num_keys, num_clients // num_replicas, num_requests) for index in range(num_replicas)
    ]
    before = database_cpu_s(postgres)
    with get_context("spawn").Pool(num_replicas) as pool:
        found = pool.starmap(decide, arguments)
    spent = database_cpu_s(postgres) - before
    latencies = sorted(latency for each, _ in found for latency in each)
    p50, p99 = (1000 * latencies[int(len(latencies) * share)] for share in (0.5, 0.99))
    rate = num_clients * len(latencies) / sum(latencies)
    name = f"{num_keys} keys, {num_clients} at once over {num_replicas} replicas"
    servers, database = (1e6 * each / len(latencies) for each in (sum(cpu for _, cpu in found), spent))
    print(f"{name}: p50 {p50:.2f} ms, p99 {p99:.2f} ms, {rate:.0f} decisions/s", end="")
    print(f"; CPU of one, with half of an end: servers {servers:.0f} us, database {database:.0f} us")


def decide(url: str, number: int, num_keys: int, num_clients: int, num_requests: int) -> tuple[list[float], float]:
    """The latencies of decisions, and the CPU time of this process for all of them."""
    before = time.process_time()
    latencies = uvloop.run(_decide(url, number, num_keys, num_clients, num_requests))
    return latencies, time.process_time() - before


async def _decide(url: str, number: int, num_keys: int, num_clients: int, num_requests: int) -> list[float]:
    replica, latencies = Replica(url, f"replica-{number}"), list[float]()
    await replica.start()

    async def client(first: int) -> None:
        for turn in range(num_requests):
            begun = time.perf_counter()
            hold = await replica.accounts.begin(Caller(f"key-{(first + turn) % num_keys}", "", limits=LIMITS))
            between = time.perf_counter()
            assert hold is not None
            await hold.admit(100, 100)
            latencies.extend((between - begun, time.perf_counter() - between))
            hold.end(cached_tokens=0, generated_tokens=50)

    await asyncio.gather(*(client(7919 * (number * num_clients + index)) for index in range(num_clients)))
    await replica.stop()
    return latencies


def database_cpu_s(postgres: Cluster) -> float:
    """The CPU time of all processes of the database so far, also of those that have ended."""
    main = int((postgres.folder / "data/postmaster.pid").read_text().splitlines()[0])
    children = Path(f"/proc/{main}/task/{main}/children").read_text().split()
    ended = Path(f"/proc/{main}/stat").read_text().rpartition(")")[2].split()[13:15]
    spent = cpu_s(main) + sum(map(int, ended)) / os.sysconf("SC_CLK_TCK")
    for child in map(int, children):
        with suppress(FileNotFoundError):  # it has ended since
            spent += cpu_s(child)
    return spent


def median(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]


if __name__ == "__main__":
    main()
