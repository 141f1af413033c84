"""The latency workloads: token gaps while a long prompt is computed, and the start of a server."""

from __future__ import annotations

import asyncio
import statistics
import time
from contextlib import aclosing
from itertools import pairwise

import msgspec
from common import Served

from crossette.client.bench.prompts import Prompts
from crossette.client.bench.sse import SseReader, read_chunk
from crossette.client.remote import error_text
from peers.requests import TIMEOUT_S, completion, connect, good, post_alone, record
from peers.runs import PROMPT_TOKENS, Body, Failed, Size


def run_gap(served: Served, is_ours: bool, size: Size, seed: int) -> tuple[dict[str, float], Body]:
    """A stream that runs while a long prompt is computed."""
    return asyncio.run(_gap(served, size, seed))


async def _gap(served: Served, size: Size, seed: int) -> tuple[dict[str, float], Body]:
    short_prompt = Prompts("short", PROMPT_TOKENS, seed)[0].own
    long_prompt = Prompts("long", size.long_tokens, seed)[1].own
    text_at: list[float] = []
    begun, answered = asyncio.Event(), asyncio.Event()
    async with asyncio.timeout(TIMEOUT_S), asyncio.TaskGroup() as group:
        group.create_task(
            _watch(served, completion(served, short_prompt, size.running_tokens), text_at, begun, answered)
        )
        await begun.wait()
        long = good(await post_alone(served, completion(served, long_prompt, 1)))
        answered.set()
    sent, done = long.started_s, long.started_s + long.total_s
    if not text_at or text_at[-1] < done:
        raise Failed("the stream ended before the long prompt was answered")
    gaps = [(after - before) * 1000 for before, after in pairwise(text_at) if after >= sent and before <= done]
    before = [(after - before) * 1000 for before, after in pairwise(text_at) if after < sent]
    figures = {"largest_gap_ms": max(gaps), "long_first_token_ms": 1000 * long.total_s}
    return figures, {"gaps_ms": gaps, "median_gap_before_ms": statistics.median(before), "long": record(long)}


async def _watch(
    served: Served, body: Body, text_at: list[float], begun: asyncio.Event, answered: asyncio.Event
) -> None:
    """Record the arrival times of text. Sets `begun` after 20 pieces; stops at the first piece after `answered`."""
    events = SseReader()
    with connect(served) as connection:
        response = await connection.request("POST", "/completions", msgspec.json.encode(body))
        if response.status != 200:
            raise Failed(error_text(await response.read()))
        async with aclosing(response.pieces()) as pieces:
            async for piece in pieces:
                now = time.perf_counter()
                chunks = [read_chunk(data) for data in events.feed(piece) if data != b"[DONE]"]
                text_at += [now for chunk in chunks if any(choice.has_text for choice in chunk.choices or ())]
                if len(text_at) >= 20:
                    begun.set()
                if answered.is_set():
                    break
    begun.set()


def run_start(served: Served, is_ours: bool, size: Size, seed: int) -> tuple[dict[str, float], Body]:
    """Time from the start of the process to the first token."""
    prompt = Prompts("short", PROMPT_TOKENS, seed)[0].own
    result = good(asyncio.run(post_alone(served, completion(served, prompt, 1))))
    seconds = result.started_s + (result.first_token_s or result.total_s) - served.started_s
    return {"start_s": seconds}, {"request": record(result)}
