"""Measure hundreds of concurrent clients, and clients that never read, on the fake engine."""

from __future__ import annotations

import asyncio
import time
from contextlib import ExitStack, closing

from common import Served, fake, serving
from peers.requests import completion, connect, post, post_alone

from crossette.client.bench.request import RequestResult
from faults.rows import Options, Row, mib, percentile
from faults.server import LIMIT_S, Body, Watch, begin

NUM_CLIENTS = 500
OUTPUT_TOKENS = 100
OTHERS, ROUNDS = 8, 40
"""Other clients beside those that never read, and the requests of each in a round."""
UNREAD_TOKENS = 4000
"""With 20 alternatives each, more bytes than the system buffers for a client that does not read."""
PAIRS = 4
"""Pairs of rounds, without and with clients that never read."""


def crowd(options: Options) -> list[Row]:
    """Two requests per client: memory that is kept permanently is allocated in the first half."""
    with serving(fake()) as served, closing(Watch(served)) as watch:
        asyncio.run(_at_once(served, 1))
        memory, sockets = [served.rss_bytes], [_settled(watch, 0, limit_s=1)]
        results = []
        for _ in range(2):
            results += asyncio.run(_at_once(served, NUM_CLIENTS))
            sockets.append(_settled(watch, sockets[0]))
            memory.append(served.rss_bytes)
    complete = [result.total_s for result in results if is_complete(result)]
    fault = f"{NUM_CLIENTS} clients at once, twice, {OUTPUT_TOKENS} tokens each (fake engine)"
    return [
        Row(fault, "complete answers", f"{len(complete)} of {len(results)}"),
        Row(fault, "longest time to a complete answer, s", f"{max(complete, default=0):.1f}"),
        Row(fault, "resident memory before, after, after the second time, MiB", ", ".join(map(mib, memory))),
        Row(fault, "open sockets before, after, after the second time", ", ".join(map(str, sockets))),
    ]


async def _at_once(served: Served, num_clients: int) -> list[RequestResult]:
    body = completion(served, "Hello", OUTPUT_TOKENS)
    return await asyncio.gather(*(post_alone(served, body) for _ in range(num_clients)))


def is_complete(result: RequestResult) -> bool:
    return result.failure is None and result.finish_reason == "length"


def _settled(watch: Watch, expected: int, limit_s: float = 10) -> int:
    """Open sockets once they are at most `expected`, or at the limit: a server detects a disconnect with a delay."""
    limit = time.monotonic() + limit_s
    while (found := watch.num_sockets()) > expected and time.monotonic() < limit:
        time.sleep(0.01)
    return found


def unread(options: Options) -> list[Row]:
    """Measure alternating rounds without and with clients that never read, on one server."""
    rows = []
    for num_clients in (1, 20):
        with serving(fake()) as served, closing(Watch(served)) as watch:
            asyncio.run(_round(served))
            without, during = [], []
            for _ in range(PAIRS):
                without += asyncio.run(_round(served))
                during += _round_beside_unread(watch, num_clients)
        ratio = percentile(during, 0.95) / percentile(without, 0.95)
        clients = "a client" if num_clients == 1 else f"{num_clients} clients"
        fault = f"{clients} that never read{'s' if num_clients == 1 else ''}: {OTHERS} other clients (fake engine)"
        figures = f"{ratio:.2f} ({percentile(without, 0.95) * 1000:.0f} to {percentile(during, 0.95) * 1000:.0f} ms)"
        rows.append(Row(fault, "p95 of the others' complete answers, with / without", figures))
    return rows


def _round_beside_unread(watch: Watch, num_clients: int) -> list[float]:
    """A round while this many clients have unread responses that fill all buffers."""
    before = watch.stats()["completion_tokens"]
    with ExitStack() as clients:
        for _ in range(num_clients):
            clients.enter_context(begin(watch.served, "chat/completions", _large(watch), receive_buffer=4096))
        num_tokens = num_clients * UNREAD_TOKENS
        watch.wait_for(lambda stats: bool(stats["completion_tokens"] >= before + num_tokens))
        _wait_until_idle(watch.served)
        return asyncio.run(_round(watch.served))


def _wait_until_idle(served: Served, pause_s: float = 0.25) -> None:
    """Wait until the server uses no CPU: all that fits into buffers is sent."""
    limit = time.monotonic() + LIMIT_S
    spent = -1.0
    while served.cpu_s - spent > pause_s / 10 and time.monotonic() < limit:
        spent = served.cpu_s
        time.sleep(pause_s)


def _large(watch: Watch) -> Body:
    """A request for a response of megabytes."""
    return {
        "model": watch.served.model,
        "messages": [{"role": "user", "content": "Hello"}],
        "max_tokens": UNREAD_TOKENS,
        "ignore_eos": True,
        "stream": True,
        "logprobs": True,
        "top_logprobs": 20,
    }


async def _round(served: Served) -> list[float]:
    async def other() -> list[float]:
        with connect(served) as connection:
            results = [await post(connection, completion(served, "Hello", 16)) for _ in range(ROUNDS)]
        if not all(map(is_complete, results)):
            raise SystemExit(f"Requests failed: {[result.failure for result in results]}")
        return [result.total_s for result in results]

    return [seconds for one in await asyncio.gather(*(other() for _ in range(OTHERS))) for seconds in one]
