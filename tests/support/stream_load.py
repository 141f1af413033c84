"""Streams under load, and what their clients saw."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import httpx

from support.api_server import say

LIMIT_S = 60
TEXT = "0123456789" * 6


@dataclass
class Seen:
    """What clients saw: numbers of answers by kind and replica."""

    complete: Counter[str] = field(default_factory=Counter)
    cut: Counter[str] = field(default_factory=Counter)
    """Streams that had begun, and ended without [DONE]."""
    lost: Counter[str] = field(default_factory=Counter)
    """Requests without a byte of an answer, or with an error, by reason."""
    bodies: set[str] = field(default_factory=set)
    """The texts of complete answers."""


async def stream_load(
    root: str, during: Callable[[Seen], Awaitable[None]], num_streams: int = 16, *, key: str | None = None
) -> Seen:
    """Keep this many streams running until `during` ends, and let the last ones end."""
    seen, is_over = Seen(), asyncio.Event()
    limits = httpx.Limits(max_connections=num_streams)
    headers = {"authorization": f"Bearer {key}"} if key else {}
    async with httpx.AsyncClient(
        base_url=root, timeout=LIMIT_S, limits=limits, headers=headers, verify=False
    ) as client:

        async def worker(number: int) -> None:
            turn = 0
            while not is_over.is_set():
                await _stream(client, f"conversation {number}, turn {turn}", seen)
                turn += 1

        workers = [asyncio.create_task(worker(number)) for number in range(num_streams)]
        try:
            await during(seen)
        finally:
            is_over.set()
        await asyncio.gather(*workers)
    return seen


async def until(seen: Seen, condition: Callable[[Seen], bool]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not condition(seen):
            await asyncio.sleep(0.01)


async def _stream(client: httpx.AsyncClient, text: str, seen: Seen) -> None:
    body = {"model": "fake", "prompt": text + say(TEXT), "max_tokens": 100, "stream": True}
    replica, received = "", ""
    try:
        async with client.stream("POST", "/v1/completions", json=body) as response:
            if response.status_code != 200:
                seen.lost[f"{response.status_code} {(await response.aread()).decode()[:200]}"] += 1
                await asyncio.sleep(0.05)
                return
            replica = response.headers["x-crossette-replica"]
            async for line in response.aiter_lines():
                received += line
    except httpx.TransportError as error:
        if not received:
            seen.lost[repr(error)] += 1
            return
    if received.endswith("data: [DONE]"):
        seen.complete[replica] += 1
        seen.bodies.add("".join(part.partition('"')[0] for part in received.split('"text":"')[1:]))
    else:
        seen.cut[replica] += 1
