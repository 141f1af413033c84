"""Hundreds of clients at once, and clients that never read: on the engine without a model, for the front alone."""

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
"""Others who ask beside those that never read, and how often each does in a round."""
UNREAD_TOKENS = 4000
"""With 20 alternatives each, more bytes than the system takes in for a client that does not read."""
PAIRS = 4
"""Of rounds, without and with those that never read."""


def crowd(options: Options) -> list[Row]:
    """Twice as many requests as there are clients: what is kept for good is there after the first half."""
    with serving(fake()) as served, closing(Watch(served)) as watch:
        asyncio.run(_at_once(served, 1))
        memory, sockets = [served.rss_bytes], [_settled(watch, 0, limit_s=1)]
        results = []
        for _ in range(2):
            results += asyncio.run(_at_once(served, NUM_CLIENTS))
            sockets.append(_settled(watch, sockets[0]))
            memory.append(served.rss_bytes)
    whole = [result.total_s for result in results if is_whole(result)]
    fault = f"{NUM_CLIENTS} clients at once, twice, {OUTPUT_TOKENS} tokens each (fake engine)"
    return [
        Row(fault, "answered whole", f"{len(whole)} of {len(results)}"),
        Row(fault, "longest wait for a whole answer, s", f"{max(whole, default=0):.1f}"),
        Row(fault, "resident memory before, after, after the second time, MiB", ", ".join(map(mib, memory))),
        Row(fault, "open sockets before, after, after the second time", ", ".join(map(str, sockets))),
    ]


async def _at_once(served: Served, num_clients: int) -> list[RequestResult]:
    body = completion(served, "Hello", OUTPUT_TOKENS)
    return await asyncio.gather(*(post_alone(served, body) for _ in range(num_clients)))


def is_whole(result: RequestResult) -> bool:
    return result.failure is None and result.finish_reason == "length"


def _settled(watch: Watch, expected: int, limit_s: float = 10) -> int:
    """Open sockets once they are no more than expected, or at the limit: a server hears of a hang-up a moment later."""
    limit = time.monotonic() + limit_s
    while (found := watch.num_sockets()) > expected and time.monotonic() < limit:
        time.sleep(0.01)
    return found


def unread(options: Options) -> list[Row]:
    """Rounds without and with them take turns, on one server."""
    rows = []
    for num_clients in (1, 20):
        with serving(fake()) as served, closing(Watch(served)) as watch:
            asyncio.run(_round(served))
            without, beside = [], []
            for _ in range(PAIRS):
                without += asyncio.run(_round(served))
                beside += _round_beside(watch, num_clients)
        ratio = percentile(beside, 0.95) / percentile(without, 0.95)
        who = "a client" if num_clients == 1 else f"{num_clients} clients"
        fault = f"{who} that never read{'s' if num_clients == 1 else ''}: {OTHERS} others ask (fake engine)"
        figures = f"{ratio:.2f} ({percentile(without, 0.95) * 1000:.0f} to {percentile(beside, 0.95) * 1000:.0f} ms)"
        rows.append(Row(fault, "p95 of the others' whole answers, beside / without", figures))
    return rows


def _round_beside(watch: Watch, num_clients: int) -> list[float]:
    """A round while this many clients have been told more than fits on the way to them."""
    before = watch.stats()["completion_tokens"]
    with ExitStack() as clients:
        for _ in range(num_clients):
            clients.enter_context(begin(watch.served, "chat/completions", _large(watch), receive_buffer=4096))
        told = num_clients * UNREAD_TOKENS
        watch.wait_for(lambda stats: bool(stats["completion_tokens"] >= before + told))
        _wait_until_idle(watch.served)
        return asyncio.run(_round(watch.served))


def _wait_until_idle(served: Served, pause_s: float = 0.25) -> None:
    """Come back when the server computes nothing: what can be sent is sent, and the rest waits for its reader."""
    limit = time.monotonic() + LIMIT_S
    spent = -1.0
    while served.cpu_s - spent > pause_s / 10 and time.monotonic() < limit:
        spent = served.cpu_s
        time.sleep(pause_s)


def _large(watch: Watch) -> Body:
    """An answer of megabytes."""
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
        if not all(map(is_whole, results)):
            raise SystemExit(f"Not answered: {[result.failure for result in results]}")
        return [result.total_s for result in results]

    return [seconds for one in await asyncio.gather(*(other() for _ in range(OTHERS))) for seconds in one]
