"""Measure deploys and a kill under 16 streams: two replicas of the fake engine behind HAProxy."""

from __future__ import annotations

import asyncio
import signal
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from faults.rows import Options, Row, percentile
from support.haproxy import haproxy
from support.replica_server import ReplicaServer, replica
from support.stream_load import Seen, stream_load, until

PACE_S = 0.02
DRAIN = {"drain_delay": 3, "drain_timeout": 30}
PROBE_EVERY_S = 0.02
LIMIT_S = 60


@dataclass
class Probes:
    """Short requests through the proxy, one after the other: what a client sees while others stream."""

    seconds: list[float] = field(default_factory=list)
    failed: int = 0

    async def run(self, root: str) -> None:
        async with httpx.AsyncClient(base_url=root, timeout=LIMIT_S, verify=False) as client:
            while True:
                begun = time.perf_counter()
                body = {"model": "fake", "prompt": f"probe {len(self.seconds)}", "max_tokens": 1}
                answer = await client.post("/v1/completions", json=body)
                self.seconds.append(time.perf_counter() - begun)
                self.failed += answer.status_code != 200
                await asyncio.sleep(PROBE_EVERY_S)


@dataclass
class Site:
    """Two replicas, which a fault may replace, and their proxy."""

    stack: ExitStack
    running: list[ReplicaServer]

    def replace(self, old: ReplicaServer) -> ReplicaServer:
        """Start another replica on the port of one that has ended."""
        return self.stack.enter_context(replica(f"{old.name}-new", port=old.port, pace_s=PACE_S, **DRAIN))


Fault = Callable[[Site, Seen], Awaitable[None]]


def deploys(options: Options) -> list[Row]:
    return [row for name, fault in FAULTS.items() for row in _measure(name, fault)]


async def _stop(site: Site, seen: Seen) -> None:
    await asyncio.to_thread(site.running[0].stop)


async def _kill(site: Site, seen: Seen) -> None:
    await asyncio.to_thread(site.running[0].stop, signal.SIGKILL)
    await asyncio.sleep(10)  # as long as a deploy: the checks of the proxy notice it meanwhile


async def _roll(site: Site, seen: Seen) -> None:
    for old in site.running:
        await asyncio.to_thread(old.stop)
        new = await asyncio.to_thread(site.replace, old)
        await until(seen, lambda seen, name=new.name: seen.complete[name] >= 8)  # type: ignore[misc]


FAULTS: dict[str, Fault] = {
    "SIGTERM of one of two replicas": _stop,
    "kill -9 of one of two replicas": _kill,
    "both replicas replaced, one after the other": _roll,
}


def _measure(name: str, fault: Fault) -> list[Row]:
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        site = Site(stack, [stack.enter_context(replica(f"r{index}", pace_s=PACE_S, **DRAIN)) for index in range(2)])
        proxy = stack.enter_context(haproxy(Path(folder), [each.port for each in site.running]))
        before, during, took = Probes(), Probes(), 0.0

        async def with_probes(seen: Seen) -> None:
            nonlocal took
            await until(seen, lambda seen: min(seen.complete[each.name] for each in site.running) >= 8)
            await _probed(before, proxy.root, asyncio.sleep(5))
            begun = time.perf_counter()
            await _probed(during, proxy.root, fault(site, seen))
            took = time.perf_counter() - begun

        seen = asyncio.run(stream_load(proxy.root, with_probes))
    fault_name = f"{name}, under 16 streams"
    answered = f"{seen.complete.total()}, {seen.cut.total()}, {seen.lost.total()}"
    longest = f"{_ms(before)}; {_ms(during)}; {during.failed} of {len(during.seconds)}; {took:.0f}"
    return [
        Row(fault_name, "requests answered, cut after their first byte, lost", answered),
        Row(fault_name, "short requests, ms: p50 and longest before; during; failed; seconds of the fault", longest),
    ]


async def _probed(probes: Probes, root: str, fault: Awaitable[None]) -> None:
    task = asyncio.create_task(probes.run(root))
    await fault
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _ms(probes: Probes) -> str:
    return ", ".join(f"{1000 * percentile(probes.seconds, share):.0f}" for share in (0.5, 1))
