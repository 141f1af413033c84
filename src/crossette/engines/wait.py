"""Estimate how long a new request would be queued, by simulating the batch with recent rates and lengths."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from heapq import heapify, heappop, heappush
from itertools import takewhile
from typing import NamedTuple

from crossette.engine import Speeds, WaitEstimate


class QueuedSequence(NamedTuple):
    """A running or waiting sequence, reduced to what the simulation needs."""

    prompt_tokens: int
    """Prompt tokens still to compute for it; prefixes that an earlier sequence computes are excluded."""
    output_tokens: int
    """Output tokens that it is expected to generate yet."""
    blocks: int = 0
    """KV blocks that it alone holds or will hold."""
    tenant: str = ""
    priority: int = 0


def estimate_wait(
    running: Sequence[QueuedSequence],
    waiting: Sequence[QueuedSequence],
    *,
    new_request: QueuedSequence,
    slots: int,
    blocks: int,
    speeds: Speeds,
) -> WaitEstimate:
    """Simulate until the new request is admitted. The batch has `slots` in all, and `blocks` are free now.

    Prompts are computed one after the other, while all running sequences decode at once. Unmeasured rates take no
    time.
    """
    prompt_s, output_s = _inverse(speeds.prompt_tokens_per_s), _inverse(speeds.answer_tokens_per_s)
    clock = prompts_until = 0.0
    """When the last sequence ended, and when all prompts of the batch are computed."""
    ends: list[tuple[float, int]] = []
    """When slots become free, and how many blocks with each."""
    num_ended = 0
    for sequence in running:
        prompts_until += sequence.prompt_tokens * prompt_s
        begun = prompts_until if sequence.prompt_tokens else 0.0
        ends.append((begun + sequence.output_tokens * output_s, sequence.blocks))
    heapify(ends)
    for sequence in (*_before(new_request, waiting, running), new_request):
        # The scheduler's admission rule, which leaves a free block for each running sequence.
        while ends and (len(ends) >= slots or sequence.blocks + len(ends) > blocks):
            clock, freed = heappop(ends)
            blocks += freed
            num_ended += 1
        begun = max(clock, prompts_until)
        prompts_until = begun + sequence.prompt_tokens * prompt_s
        heappush(ends, (prompts_until + sequence.output_tokens * output_s, sequence.blocks))
        blocks -= sequence.blocks
    if not num_ended:
        return WaitEstimate(len(waiting), has_slot=True)
    return WaitEstimate(len(waiting), has_slot=False, seconds=begun, slot_s=clock / num_ended)


def _before(
    new_request: QueuedSequence, waiting: Sequence[QueuedSequence], running: Sequence[QueuedSequence]
) -> Sequence[QueuedSequence]:
    """The waiting sequences that are admitted before the new request, in order: by priority, then tenants with the
    fewest running sequences, then age. Assumes that sequences of all tenants end at the same rate."""
    if all(sequence[3:] == new_request[3:] for sequence in waiting):
        return waiting
    num_before = Counter(sequence.tenant for sequence in running)
    keyed = []
    for number, sequence in enumerate((*waiting, new_request)):
        keyed.append((-sequence.priority, num_before[sequence.tenant], number, sequence))
        num_before[sequence.tenant] += 1
    last = keyed[-1]
    return [sequence for *_, sequence in takewhile(lambda one: one is not last, sorted(keyed))]


def _inverse(per_s: float) -> float:
    return 1 / per_s if per_s else 0.0
