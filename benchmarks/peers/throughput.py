"""The throughput workloads: unique prompts, a shared long prompt, and eight choices of one prompt."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from common import Served

from crossette.client.bench.prompts import Prompts
from peers.requests import TIMEOUT_S, bench_options, completion, good, post_alone, rates, record
from peers.runs import PROMPT_TOKENS, Body, Failed, Size

SHARED_TOKENS = 1200


def run_short(streams: int) -> Callable[[Served, bool, Size, int], tuple[dict[str, float], Body]]:
    """Unique prompts in `streams` concurrent streams."""

    def run(served: Served, is_ours: bool, size: Size, seed: int) -> tuple[dict[str, float], Body]:
        options = bench_options(served, size, seed, concurrency=(streams,))
        return rates(replace(options, num_requests=max(4, streams * size.requests_per_stream)))

    return run


def run_shared(served: Served, is_ours: bool, size: Size, seed: int) -> tuple[dict[str, float], Body]:
    """Chats that share one long system prompt."""
    options = bench_options(served, size, seed, concurrency=(8,))
    options = replace(
        options,
        num_requests=size.shared_requests,
        endpoint="chat/completions",
        shape="shared",
        prompt_tokens=SHARED_TOKENS,
    )
    return rates(options)


def run_fork(served: Served, is_ours: bool, size: Size, seed: int) -> tuple[dict[str, float], Body]:
    """Eight answers to one prompt: one request with n=8 for crossette, eight concurrent requests for its peer."""
    return asyncio.run(_fork(served, is_ours, size, seed))


async def _fork(served: Served, is_ours: bool, size: Size, seed: int) -> tuple[dict[str, float], Body]:
    prompts = Prompts("short", PROMPT_TOKENS, seed)
    async with asyncio.timeout(TIMEOUT_S):
        await asyncio.gather(*_eight(served, is_ours, prompts[0].own, 4))
        begun = time.perf_counter()
        results = await asyncio.gather(*_eight(served, is_ours, prompts[1].own, size.output_tokens))
        seconds = time.perf_counter() - begun
    num_tokens = sum(good(result).completion_tokens or 0 for result in results)
    if num_tokens != 8 * size.output_tokens:
        raise Failed(f"{num_tokens} output tokens, not {8 * size.output_tokens}")
    return {"tokens_per_s": num_tokens / seconds}, {"requests": [record(result) for result in results]}


def _eight(served: Served, is_ours: bool, prompt: str, max_tokens: int) -> list[Any]:  # Any: coroutines
    # Sampled, since eight greedy answers would be identical.
    sampled = completion(served, prompt, max_tokens) | {"temperature": 1.0}
    if is_ours:
        return [post_alone(served, sampled | {"n": 8, "seed": 1})]
    return [post_alone(served, sampled | {"seed": seed}) for seed in range(8)]
