"""Soak test: many requests of every kind to one server, whose memory must stay flat.

    scripts/soak [--requests 10000] [--streams 8] [--fake] [--key]

Streamed and unary answers, chats and completions, seeds, two choices, stop strings, clients that disconnect in
mid-stream or before the answer, and refused requests. The resident memory of the server is printed every 500 requests.
It fails if an answer is unexpected, if memory grows by more than the bound in the second half of the requests, if the
engine still holds blocks at the end, or if the ledger has lost a row. Linux only: it reads /proc.
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
from functools import partial
from typing import Any

import httpx
import msgspec
from common import bearer, crossette, database, fake, make_key, serving

from crossette.client.bench.connection import Connection
from crossette.client.bench.options import Address
from crossette.client.bench.prompts import Prompts
from crossette.models.catalogue import DEFAULT

SAMPLE_EVERY = 500
MAX_GROWTH = 8 * 2**20
"""In bytes. 5,000 requests that each leak just their prompt and answer would leak 20 MiB."""
KV_CACHE = "64MiB"
"""Small, so that the first tenth of the requests touches all of its pages, which count as resident only then."""
IDLE_LIMIT_S = 30.0

Body = dict[str, Any]  # Any: JSON


@dataclass(frozen=True)
class Kind:
    """One kind of request: its fields, its expected status, and when the client disconnects."""

    name: str
    path: str = "completions"
    fields: Body = field(default_factory=dict)
    status: int = 200
    raw: bytes | None = None
    """Sent instead of a JSON body."""
    disconnect: str = ""
    """"sent": before any response. "begun": after its first piece."""


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
    Kind("disconnects in mid-stream", fields={"max_tokens": 200, "ignore_eos": True, **STREAM}, disconnect="begun"),
    Kind(
        "chat, disconnects in mid-stream", CHAT, {"max_tokens": 200, "ignore_eos": True, **STREAM}, disconnect="begun"
    ),
    Kind("disconnects before the answer", fields={"max_tokens": 200, "ignore_eos": True, "n": 2}, disconnect="sent"),
    Kind("invalid JSON", raw=b'{"model": ', status=400),
    Kind("an unknown field", fields={"max_token": 3}, status=400),
    Kind("a value out of range", CHAT, {"temperature": 9}, status=400),
    Kind("an unknown model", fields={"model": "gpt-4"}, status=404),
    Kind("too long a prompt", fields={"prompt": [100] * 9000}, status=400),
)


@dataclass
class Soak:
    """Requests of all kinds to one server, from `streams` concurrent clients. `done` counts them by kind."""

    url: str
    model: str
    streams: int = 8
    key: str | None = None
    done: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    """Descriptions of unexpected answers."""

    def __post_init__(self) -> None:
        self._prompts = Prompts("short", 24, seed=3)
        self._numbers = iter(range(10**9))
        self._headers = {"content-type": "application/json", **bearer(self.key)}

    async def run(self, num_requests: int) -> None:
        """Send `num_requests` more requests, and read their answers or disconnect."""
        numbers = iter([next(self._numbers) for _ in range(num_requests)])
        async with asyncio.TaskGroup() as group:
            for _ in range(self.streams):
                group.create_task(self._client(numbers))

    async def _client(self, numbers: Iterator[int]) -> None:
        with closing(Connection(Address.parse(self.url), self._headers)) as connection:
            for number in numbers:
                kind = KINDS[number % len(KINDS)]
                self.done[kind.name] += 1
                if problem := await self._problem(connection, kind, number):
                    self.wrong.append(f"request {number}, {kind.name}: {problem}")

    async def _problem(self, connection: Connection, kind: Kind, number: int) -> str | None:
        content = kind.raw or msgspec.json.encode(self._body(kind, number))
        if kind.disconnect == "sent":
            await self._disconnect(connection, kind, content)
            return None
        response = await connection.request("POST", f"/{kind.path}", content)
        if kind.disconnect == "begun":
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

    async def _disconnect(self, connection: Connection, kind: Kind, content: bytes) -> None:
        """Send a request, and disconnect before the response, after a delay in which its work may have begun."""
        with closing(Connection(Address.parse(self.url), self._headers)) as other:
            task = asyncio.create_task(other.request("POST", f"/{kind.path}", content))
            await asyncio.wait([task], timeout=0.02)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def idle_health(root: str, limit_s: float = IDLE_LIMIT_S) -> Body:
    """The server's health once it is idle and all rows are written, or at the limit."""
    limit = time.monotonic() + limit_s
    while True:
        health: Body = httpx.get(f"{root}/health/ready").raise_for_status().json()
        if (is_idle(health) and not health["ledger"]["waiting"]) or time.monotonic() > limit:
            return health
        time.sleep(0.05)


def is_idle(health: Body) -> bool:
    stats = health["models"][0]["stats"]
    return (stats["running"], stats["waiting"], stats["blocks_free"]) == (0, 0, stats["blocks_total"])


@dataclass(frozen=True)
class Outcome:
    """The result of a soak test."""

    samples: list[tuple[int, int]]
    """Pairs of finished requests and resident bytes of the server."""
    done: Counter[str]
    wrong: list[str]
    health: Body
    """The server's health when it was idle again."""

    @property
    def problems(self) -> list[str]:
        problems = list(self.wrong)
        if (grown := growth(self.samples, settled_after=0.5)) > MAX_GROWTH:
            problems.append(f"memory grew by {grown / 2**20:.1f} MiB in the second half")
        if not is_idle(self.health):
            problems.append(f"the engine still holds something: {self.health['models']}")
        if self.health["ledger"]["lost"]:
            problems.append(f"rows are lost: {self.health['ledger']}")
        return problems


def growth(samples: list[tuple[int, int]], settled_after: float) -> int:
    """Growth in bytes from the first sample after this share of the requests to the largest later one."""
    last = samples[-1][0]
    settled = [rss for done, rss in samples if done >= last * settled_after]
    return max(settled) - settled[0]


def soak(num_requests: int, streams: int, *, is_fake: bool, has_key: bool, report: Callable[[str], None]) -> Outcome:
    """Run the soak test, with or without a key. The fake engine has a ledger only with a key."""
    every = min(SAMPLE_EVERY, max(1, num_requests // 20))
    samples: list[tuple[int, int]] = []
    begun = time.monotonic()
    with database() as url:
        key = make_key(url) if has_key else None
        command = _command(url if has_key else None, is_fake=is_fake)
        with serving(command, {"CROSSETTE_DATABASE_URL": url}, key=key) as served:
            load = Soak(served.url, "fake" if is_fake else DEFAULT.name, streams, key)
            while load.done.total() < num_requests:
                asyncio.run(load.run(min(every, num_requests - load.done.total())))
                samples.append((load.done.total(), served.rss_bytes))
                seconds = time.monotonic() - begun
                report(f"{samples[-1][0]:6} requests  {seconds:6.0f} s  {samples[-1][1] / 2**20:7.1f} MiB resident")
            return Outcome(samples, load.done, load.wrong, idle_health(served.root))


def _command(url: str | None, *, is_fake: bool) -> list[str]:
    if not is_fake:
        return crossette(DEFAULT.name, "--kv-cache", KV_CACHE)
    return [*fake(), *(("--database-url", url) if url else ())]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--streams", type=int, default=8)
    parser.add_argument("--fake", action="store_true", help="use the fake engine, to test the server alone")
    parser.add_argument("--key", action="store_true", help="use a key; with --fake also a ledger")
    options = parser.parse_args()
    report = partial(print, flush=True)
    outcome = soak(options.requests, options.streams, is_fake=options.fake, has_key=options.key, report=report)
    report("\n".join(f"{count:6} x {name}" for name, count in outcome.done.items()))
    grown = [f"{growth(outcome.samples, share) / 2**20:.1f}" for share in (0.1, 0.5)]
    report(f"growth after the first tenth, the first half: {', '.join(grown)} MiB; the bound is {MAX_GROWTH // 2**20}")
    report(f"rows in the ledger: {outcome.health['ledger']['written']}")
    if problems := outcome.problems:
        print(f"FAILED, {len(problems)} problems:", *problems[:20], sep="\n  ")
        sys.exit(1)
    print("passed: memory is flat, and all is free")


if __name__ == "__main__":
    main()
