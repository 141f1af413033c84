"""More requests than may wait: how long those wait that are let in, and whether `retry-after` is true for others."""

from __future__ import annotations

import asyncio
import statistics
import time
from dataclasses import dataclass

import httpx
from common import Served, serving
from peers.requests import completion

from faults.rows import Options, Row, median_and_worst
from faults.server import LIMIT_S, real

MAX_WAIT_S = 2.0
SEQUENCES = 4
NUM_REQUESTS = 60
OUTPUT_TOKENS = 64
LOAD = 2.0
"""Requests come so much faster than they can be answered."""
MOST_TRIES = 20


@dataclass(frozen=True)
class Admission:
    """A request, until it was let in."""

    refusals: tuple[float, ...]
    """The seconds that it was told to wait, and did, each time it was refused."""
    first_token_s: float
    """From its last try."""


def queue(options: Options) -> list[Row]:
    with serving(real("--max-sequences", str(SEQUENCES), "--max-wait", str(MAX_WAIT_S))) as served:
        visits = asyncio.run(_visits(served))
    fault = f"requests come {LOAD:.0f} times as fast as they can be answered; --max-wait {MAX_WAIT_S:.0f}"
    waits = [visit.first_token_s for visit in visits]
    refused = [visit for visit in visits if visit.refusals]
    tries = [len(visit.refusals) for visit in refused]
    told = [seconds for visit in refused for seconds in visit.refusals]
    rows = [
        Row(fault, "to the first token of those let in, s: median, worst", median_and_worst(waits, 1)),
        Row(fault, "refused at first", f"{len(refused)} of {len(visits)}"),
    ]
    if refused:
        rows += [
            Row(fault, "told to come back in, s: median, worst", median_and_worst(told, 1)),
            Row(fault, "let in at the first return, the second, later", _returns(tries)),
        ]
    return rows


def _returns(tries: list[int]) -> str:
    return f"{tries.count(1)}, {tries.count(2)}, {sum(number > 2 for number in tries)}"


async def _visits(served: Served) -> list[Admission]:
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=served.url, timeout=LIMIT_S, limits=limits) as client:
        pause_s = await _seconds_each(client, served) / LOAD
        visits = []
        for number in range(NUM_REQUESTS):
            visits.append(asyncio.create_task(_visit(client, served, number)))
            await asyncio.sleep(pause_s)
        return await asyncio.gather(*visits)


async def _seconds_each(client: httpx.AsyncClient, served: Served) -> float:
    """Of a request while the batch is full. The server learns its speed by it, too."""
    seconds = []
    for turn in range(3):
        begun = time.perf_counter()
        await asyncio.gather(*(_visit(client, served, -SEQUENCES * turn - place) for place in range(SEQUENCES)))
        seconds.append((time.perf_counter() - begun) / SEQUENCES)
    return statistics.median(seconds)


async def _visit(client: httpx.AsyncClient, served: Served, number: int) -> Admission:
    """Ask until the server answers, and come back each time just when it said."""
    refusals: list[float] = []
    while len(refusals) < MOST_TRIES:
        begun = time.perf_counter()
        body = completion(served, f"Story {number}:", OUTPUT_TOKENS)
        async with client.stream("POST", "completions", json=body) as answer:
            if answer.status_code == 200:
                lines = answer.aiter_lines()
                await anext(lines)
                first_token_s = time.perf_counter() - begun
                async for _ in lines:
                    pass
                return Admission(tuple(refusals), first_token_s)
            if answer.status_code != 503:
                raise SystemExit(f"Status {answer.status_code}")
            refusals.append(int(answer.headers["retry-after-ms"]) / 1000)
        await asyncio.sleep(refusals[-1])
    raise SystemExit(f"Refused {MOST_TRIES} times: told to wait {refusals}")
