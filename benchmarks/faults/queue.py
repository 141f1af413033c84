"""Measure an overloaded queue: the wait of admitted requests, and the accuracy of `retry-after` for the others."""

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
"""Arrival rate of requests, relative to the rate at which they can be answered."""
MOST_TRIES = 20


@dataclass(frozen=True)
class Admission:
    """A request with its retries, until it was admitted."""

    refusals: tuple[float, ...]
    """The `retry-after` of each refusal, in seconds, which the client waited."""
    first_token_s: float
    """Time to the first token of the last try."""


def queue(options: Options) -> list[Row]:
    with serving(real("--max-sequences", str(SEQUENCES), "--max-wait", str(MAX_WAIT_S))) as served:
        admissions = asyncio.run(_admissions(served))
    fault = f"requests come {LOAD:.0f} times as fast as they can be answered; --max-wait {MAX_WAIT_S:.0f}"
    waits = [admission.first_token_s for admission in admissions]
    refused = [admission for admission in admissions if admission.refusals]
    tries = [len(admission.refusals) for admission in refused]
    retry_after = [seconds for admission in refused for seconds in admission.refusals]
    rows = [
        Row(fault, "time to first token of admitted requests, s: median, worst", median_and_worst(waits, 1)),
        Row(fault, "refused at first", f"{len(refused)} of {len(admissions)}"),
    ]
    if refused:
        rows += [
            Row(fault, "`retry-after`, s: median, worst", median_and_worst(retry_after, 1)),
            Row(fault, "admitted at the first retry, the second, later", _retries(tries)),
        ]
    return rows


def _retries(tries: list[int]) -> str:
    return f"{tries.count(1)}, {tries.count(2)}, {sum(number > 2 for number in tries)}"


async def _admissions(served: Served) -> list[Admission]:
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=served.url, timeout=LIMIT_S, limits=limits) as client:
        pause_s = await _seconds_each(client, served) / LOAD
        tasks = []
        for number in range(NUM_REQUESTS):
            tasks.append(asyncio.create_task(_admission(client, served, number)))
            await asyncio.sleep(pause_s)
        return await asyncio.gather(*tasks)


async def _seconds_each(client: httpx.AsyncClient, served: Served) -> float:
    """Seconds per request while the batch is full; this also fills the server's throughput measurements."""
    seconds = []
    for number in range(3):
        begun = time.perf_counter()
        await asyncio.gather(*(_admission(client, served, -SEQUENCES * number - i) for i in range(SEQUENCES)))
        seconds.append((time.perf_counter() - begun) / SEQUENCES)
    return statistics.median(seconds)


async def _admission(client: httpx.AsyncClient, served: Served, number: int) -> Admission:
    """Send a request, and retry as `retry-after-ms` says until it is admitted."""
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
    raise SystemExit(f"Refused {MOST_TRIES} times, with retry-after {refusals}")
