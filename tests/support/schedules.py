"""Helpers for scheduler tests: sequences with made-up tokens, and single steps."""

from __future__ import annotations

from typing import Any

from crossette.engines.openvino.cache_manager import CacheManager
from crossette.engines.openvino.kv_cache import BlockPool
from crossette.engines.openvino.scheduler import Scheduler
from crossette.engines.openvino.sequence import Batch, SampledToken, Sequence
from crossette.engines.openvino.sliding_windows import WindowPool
from crossette.engines.openvino.states import StatePool
from support.engine_calls import make_request


def make_scheduler(
    num_blocks: int = 16,
    max_sequences: int = 8,
    max_step_tokens: int = 128,
    num_rows: int = 0,
    window: int = 0,
    num_window_blocks: int = 0,
    *,
    keeps_output: bool = False,
) -> Scheduler:
    """A scheduler for a model with rows of recurrent states and layers with a sliding window, if any."""
    caches = CacheManager(
        BlockPool(num_blocks),
        WindowPool(num_window_blocks, window=window, chunk=max_step_tokens) if window else None,
        StatePool(num_rows) if num_rows else None,
        keeps_output=keeps_output,
    )
    return Scheduler(caches, max_sequences=max_sequences, max_step_tokens=max_step_tokens)


def make_sequence(
    arrival: int,
    prompt: int | tuple[int, ...] = 10,
    max_output: int = 100,
    end: int = -1,
    index: int = 0,
    **fields: Any,
) -> Sequence:
    """A sequence; a prompt given by its length shares no prefix with others."""
    tokens = tuple(range(arrival * 1000, arrival * 1000 + prompt)) if isinstance(prompt, int) else prompt
    request = make_request(tokens, end_token_ids=frozenset({end}), ignore_eos=False, **fields)
    return Sequence(request, index, arrival=arrival, seed=0, max_output=max_output)


def add(scheduler: Scheduler, *sequences: Sequence) -> None:
    for sequence in sequences:
        scheduler.add(sequence)


def spans(batch: Batch) -> list[tuple[int, int, int, bool]]:
    """Each span as (arrival, start, count, whether a token is sampled)."""
    return [(span.sequence.arrival, span.start, span.count, span.samples) for span in batch.spans]


def step(scheduler: Scheduler, token: int = 1) -> list[tuple[int, int, int, bool]]:
    batch = scheduler.schedule()
    sampling = [sequence for span in batch.spans if span.samples for sequence in (span.sequence, *span.forks)]
    scheduler.update(batch, [SampledToken(sequence, (token,)) for sequence in sampling])
    return spans(batch)
