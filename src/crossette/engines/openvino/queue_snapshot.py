"""What a newcomer has before it: a scheduler's sequences as turns. Any thread may ask; the answer is an estimate."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from itertools import count

from crossette.engine import WaitEstimate
from crossette.engines.openvino.kv_cache import blocks_for
from crossette.engines.openvino.prefix_cache import block_keys, num_reusable
from crossette.engines.openvino.scheduler import Scheduler
from crossette.engines.openvino.sequence import Sequence
from crossette.engines.throughput import AnswerLengths, Throughput
from crossette.engines.wait import QueuedSequence, estimate_wait
from crossette.types import GenerationRequest


def estimate_for(
    request: GenerationRequest, scheduler: Scheduler, arriving: Iterable[Sequence], throughput: Throughput
) -> WaitEstimate:
    """What the request would wait for behind all that the scheduler has, and those that were only announced to it."""
    numbers, lengths = count(), throughput.lengths
    running, waiting = tuple(scheduler.running), (*scheduler.waiting, *arriving)
    estimate = partial(
        estimate_wait,
        _turns(running, lengths, numbers),
        newcomer=_newcomer(request, scheduler),
        places=scheduler.max_sequences,
        blocks=scheduler.pool.num_free,
        speeds=throughput.speeds,
    )
    at_once = estimate(_turns(waiting, lengths, numbers))
    forks = [fork for first in running for fork in first.forks]
    if at_once.has_slot or not (forks or any(first.forks for first in waiting)):
        return at_once
    # Further choices want places when their prompts are done: after those that find one now, before the others.
    return estimate(_turns((*forks, *_choices(waiting)), lengths, numbers))


def _choices(firsts: Iterable[Sequence]) -> Iterator[Sequence]:
    for first in firsts:
        yield first
        yield from first.forks


def _turns(sequences: Iterable[Sequence], lengths: AnswerLengths, numbers: Iterator[int]) -> list[QueuedSequence]:
    return [
        QueuedSequence(
            one.num_pending_prompt,
            lengths.left(len(one.output), one.max_output, number),
            one.num_own_blocks,
            one.request.tenant,
            one.request.priority,
        )
        for one, number in zip(sequences, numbers, strict=False)
    ]


def _newcomer(request: GenerationRequest, scheduler: Scheduler) -> QueuedSequence:
    """Its own prompt and answer are nothing that it waits for."""
    blocks = blocks_for(len(request.prompt))
    if not request.prompt_logprobs:
        keys = block_keys(request.prompt, request.tenant, request.isolation_key)[: num_reusable(len(request.prompt))]
        blocks -= scheduler.cache.num_held(keys)
    return QueuedSequence(0, 0, blocks, request.tenant, request.priority)
