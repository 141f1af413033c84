"""Wait estimates from a snapshot of a scheduler's queue. Any thread may call this."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from itertools import count

from crossette.engine import WaitEstimate
from crossette.engines.openvino.kv_cache import blocks_for
from crossette.engines.openvino.prefix_cache import num_reusable, request_keys
from crossette.engines.openvino.scheduler import Scheduler
from crossette.engines.openvino.sequence import Sequence
from crossette.engines.throughput import AnswerLengths, Throughput
from crossette.engines.wait import QueuedSequence, estimate_wait
from crossette.types import GenerationRequest


def estimate_for(
    request: GenerationRequest, scheduler: Scheduler, arriving: Iterable[Sequence], throughput: Throughput
) -> WaitEstimate:
    """Estimate the wait of a request after all sequences in the scheduler and those still arriving."""
    numbers, lengths = count(), throughput.lengths
    running, waiting = tuple(scheduler.running), (*scheduler.waiting, *arriving)
    estimate = partial(
        estimate_wait,
        _queued(running, lengths, numbers),
        new_request=_new_request(request, scheduler),
        slots=scheduler.max_sequences,
        blocks=scheduler.caches.pool.num_free,
        speeds=throughput.speeds,
    )
    without_forks = estimate(_queued(waiting, lengths, numbers))
    forks = [fork for first in running for fork in first.forks]
    if without_forks.has_slot or not (forks or any(first.forks for first in waiting)):
        return without_forks
    # Forks need slots once their prompts are computed: after sequences that find one now, before the others.
    return estimate(_queued((*forks, *_choices(waiting)), lengths, numbers))


def _choices(firsts: Iterable[Sequence]) -> Iterator[Sequence]:
    for first in firsts:
        yield first
        yield from first.forks


def _queued(sequences: Iterable[Sequence], lengths: AnswerLengths, numbers: Iterator[int]) -> list[QueuedSequence]:
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


def _new_request(request: GenerationRequest, scheduler: Scheduler) -> QueuedSequence:
    """The request as a sequence without tokens: its own prompt and output are no part of the wait."""
    blocks = blocks_for(len(request.prompt))
    if not request.prompt_logprobs:
        keys = request_keys(request)[: num_reusable(len(request.prompt))]
        blocks -= scheduler.caches.prefixes.num_held(keys)
    return QueuedSequence(0, 0, blocks, request.tenant, request.priority)
