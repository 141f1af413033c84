"""Many requests of every kind against one server, whose memory must stay flat.

    scripts/soak [--requests 10000] [--streams 8] [--fake]

Streams and whole answers, chats and completions, seeds, two choices, stop strings, clients that hang up in
mid-stream or before the answer, and requests that are refused. The resident memory of the server is printed every
500 requests. It fails if an answer is not the expected one, if memory grows by more than the bound once the first
tenth is done, or if the engine then holds anything. Linux only: it reads /proc.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import aclosing, closing
from dataclasses import dataclass, field
from typing import Any

import httpx
import msgspec
from common import crossette, fake, serving

from crossette.bench.connection import Connection
from crossette.bench.options import Address
from crossette.bench.prompts import Prompts
from crossette.models.catalogue import DEFAULT

SAMPLE_EVERY = 500
MAX_GROWTH = 32 * 2**20
"""Bytes. A request that leaked no more than its prompt and answer would hold over 4 KiB, so 9,000 of them 36 MiB;
the allocator's own pools still move by a few MiB after the first tenth."""
KV_CACHE = "64MiB"
"""Little, so that the first tenth of the requests has written to all of it: its pages count when they are touched."""
IDLE_LIMIT_S = 30.0

Body = dict[str, Any]  # Any: JSON


@dataclass(frozen=True)
class Kind:
    """One kind of request: what it adds to a plain one, the status to expect, and when the client hangs up."""

    name: str
    path: str = "completions"
    fields: Body = field(default_factory=dict)
    status: int = 200
    raw: bytes | None = None
    """Sent in place of JSON."""
    hang_up: str = ""
    """"sent": before any answer. "begun": after the first piece of it."""


CHAT = "chat/completions"
STREAM = {"stream": True, "stream_options": {"include_usage": True}}

KINDS = (
    Kind("completion"),
    Kind("completion, streamed", fields=STREAM),
    Kind("chat", CHAT),
    Kind("chat, streamed", CHAT, STREAM),
    Kind("seeded", fields={"temperature": 1, "seed": 7}),
    Kind("chat, seeded and streamed", CHAT, {"temperature": 1, "seed": 8, **STREAM}),
    Kind("two choices", fields={"n": 2, "temperature": 1}),
    Kind("two choices, streamed", CHAT, {"n": 2, "temperature": 1, **STREAM}),
    Kind("stop strings", fields={"stop": [" ", "e"]}),
    Kind("stop strings, streamed", CHAT, {"stop": "a", **STREAM}),
    Kind("hangs up in mid-stream", fields={"max_tokens": 200, "ignore_eos": True, **STREAM}, hang_up="begun"),
    Kind("chat, hangs up in mid-stream", CHAT, {"max_tokens": 200, "ignore_eos": True, **STREAM}, hang_up="begun"),
    Kind("hangs up before the answer", fields={"max_tokens": 200, "ignore_eos": True, "n": 2}, hang_up="sent"),
    Kind("no JSON", raw=b'{"model": ', status=400),
    Kind("an unknown field", fields={"max_token": 3}, status=400),
    Kind("a value out of range", CHAT, {"temperature": 9}, status=400),
    Kind("an unknown model", fields={"model": "gpt-4"}, status=404),
    Kind("too long a prompt", fields={"prompt": [100] * 9000}, status=400),
)


@dataclass
class Soak:
    """Requests of all kinds at one server, from `streams` clients at once. `done` counts them by kind."""

    url: str
    model: str
    streams: int = 8
    done: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    """The answers that were not the expected ones."""

    def __post_init__(self) -> None:
        self._prompts = Prompts("short", 24, seed=3)
        self._numbers = iter(range(10**9))

    async def run(self, num_requests: int) -> None:
        """Send so many more requests and read, or leave, their answers."""
        numbers = iter([next(self._numbers) for _ in range(num_requests)])
        async with asyncio.TaskGroup() as group:
            for _ in range(self.streams):
                group.create_task(self._client(numbers))

    async def _client(self, numbers: Iterator[int]) -> None:
        with closing(Connection(Address.parse(self.url), {"content-type": "application/json"})) as connection:
            for number in numbers:
                kind = KINDS[number % len(KINDS)]
                self.done[kind.name] += 1
                if problem := await self._problem(connection, kind, number):
                    self.wrong.append(f"request {number}, {kind.name}: {problem}")

    async def _problem(self, connection: Connection, kind: Kind, number: int) -> str | None:
        content = kind.raw or msgspec.json.encode(self._body(kind, number))
        if kind.hang_up == "sent":
            await self._hang_up(connection, kind, content)
            return None
        response = await connection.request("POST", f"/{kind.path}", content)
        if kind.hang_up == "begun":
            async with aclosing(response.pieces()) as pieces:
                await anext(pieces)
            connection.close()
            return None
        answer = await response.read()
        if response.status != kind.status:
            return f"HTTP {response.status}, not {kind.status}: {answer[:200]!r}"
        if kind.status == 200 and kind.fields.get("stream") and not answer.endswith(b"data: [DONE]\n\n"):
            return f"no [DONE]: {answer[-200:]!r}"
        return None

    def _body(self, kind: Kind, number: int) -> Body:
        # Every third round of the kinds repeats prompts, so that the prefix cache both hits and evicts.
        repeats = number // len(KINDS) % 3 == 0
        prompt = self._prompts[number % len(KINDS) if repeats else number].own
        given: Body = {"messages": [{"role": "user", "content": prompt}]} if kind.path == CHAT else {"prompt": prompt}
        max_tokens = random.Random(number).randint(1, 12)
        return {"model": self.model, "max_tokens": max_tokens, "temperature": 0, **given, **kind.fields}

    async def _hang_up(self, connection: Connection, kind: Kind, content: bytes) -> None:
        """Send a request, and leave before it is answered: after a moment in which its work may have begun."""
        with closing(Connection(Address.parse(self.url), {"content-type": "application/json"})) as leaving:
            task = asyncio.create_task(leaving.request("POST", f"/{kind.path}", content))
            await asyncio.wait([task], timeout=0.02)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def idle_stats(root: str, limit_s: float = IDLE_LIMIT_S) -> Body:
    """The engine's counts as soon as nothing runs or waits and all blocks are free, or at the limit."""
    limit = time.monotonic() + limit_s
    while True:
        stats: Body = httpx.get(f"{root}/health/ready").raise_for_status().json()["models"][0]["stats"]
        if is_idle(stats) or time.monotonic() > limit:
            return stats
        time.sleep(0.05)


def is_idle(stats: Body) -> bool:
    return (stats["running"], stats["waiting"], stats["blocks_free"]) == (0, 0, stats["blocks_total"])


def growth(samples: list[tuple[int, int]]) -> int:
    """Bytes from the first sample after a tenth of the requests to the largest one after it."""
    last = samples[-1][0]
    settled = [rss for done, rss in samples if done >= last / 10]
    return max(settled) - settled[0]


def soak(num_requests: int, streams: int, *, is_fake: bool, say: Callable[[str], None]) -> list[str]:
    """Run it; gives what is wrong."""
    command = fake() if is_fake else crossette(DEFAULT.name, "--kv-cache", KV_CACHE)
    every = min(SAMPLE_EVERY, max(1, num_requests // 20))
    samples: list[tuple[int, int]] = []
    begun = time.monotonic()
    with serving(command) as served:
        load = Soak(served.url, "fake" if is_fake else DEFAULT.name, streams)
        while load.done.total() < num_requests:
            asyncio.run(load.run(min(every, num_requests - load.done.total())))
            samples.append((load.done.total(), served.rss_bytes))
            seconds = time.monotonic() - begun
            say(f"{samples[-1][0]:6} requests  {seconds:6.0f} s  {samples[-1][1] / 2**20:7.1f} MiB resident")
        stats = idle_stats(served.root)
    say("\n".join(f"{count:6} x {name}" for name, count in load.done.items()))
    problems = list(load.wrong)
    say(f"growth after the first tenth: {growth(samples) / 2**20:.1f} MiB, {MAX_GROWTH / 2**20:.0f} allowed")
    if growth(samples) > MAX_GROWTH:
        problems.append(f"memory grew by {growth(samples) / 2**20:.1f} MiB")
    if not is_idle(stats):
        problems.append(f"the engine still holds something: {stats}")
    return problems


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--streams", type=int, default=8)
    parser.add_argument("--fake", action="store_true", help="an engine without a model: the front alone")
    options = parser.parse_args()
    problems = soak(options.requests, options.streams, is_fake=options.fake, say=lambda line: print(line, flush=True))
    if problems:
        print(f"FAILED, {len(problems)} problems:", *problems[:20], sep="\n  ")
        sys.exit(1)
    print("passed: memory is flat, and nothing is left")


if __name__ == "__main__":
    main()
