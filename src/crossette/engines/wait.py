"""How long a newcomer would wait for its turn: the batch played forward, as far as it is known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from heapq import heapify, heappop, heappush
from itertools import takewhile
from typing import NamedTuple

from crossette.engine import Speeds, WaitEstimate


class QueuedSequence(NamedTuple):
    """A choice that runs or waits, as others see it: what it takes before it gives its place back."""

    prompt_tokens: int
    """Still to be computed for it, and not for anybody before it."""
    output_tokens: int
    """By which its answer will still grow."""
    blocks: int = 0
    """That it holds for itself alone, or will."""
    tenant: str = ""
    priority: int = 0


def estimate_wait(
    running: Sequence[QueuedSequence],
    waiting: Sequence[QueuedSequence],
    *,
    newcomer: QueuedSequence,
    places: int,
    blocks: int,
    speeds: Speeds,
) -> WaitEstimate:
    """Play until it is the newcomer's turn. The batch has `places` in all, and `blocks` are free now.

    Prompts are computed one after the other while answers grow, all at the same time. What was never measured takes
    no time.
    """
    prompt_s, output_s = _inverse(speeds.prompt_tokens_per_s), _inverse(speeds.answer_tokens_per_s)
    clock = prompts_until = 0.0
    """When the last end was, and when all prompts of the batch are computed."""
    ends: list[tuple[float, int]] = []
    """When places become free, and the blocks that do with each."""
    num_ended = 0
    for turn in running:
        prompts_until += turn.prompt_tokens * prompt_s
        begun = prompts_until if turn.prompt_tokens else 0.0
        ends.append((begun + turn.output_tokens * output_s, turn.blocks))
    heapify(ends)
    for turn in (*_before(newcomer, waiting, running), newcomer):
        # As the scheduler sees it, which leaves a block for each sequence that runs.
        while ends and (len(ends) >= places or turn.blocks + len(ends) > blocks):
            clock, freed = heappop(ends)
            blocks += freed
            num_ended += 1
        begun = max(clock, prompts_until)
        prompts_until = begun + turn.prompt_tokens * prompt_s
        heappush(ends, (prompts_until + turn.output_tokens * output_s, turn.blocks))
        blocks -= turn.blocks
    if not num_ended:
        return WaitEstimate(len(waiting), has_slot=True)
    return WaitEstimate(len(waiting), has_slot=False, seconds=begun, slot_s=clock / num_ended)


def _before(
    newcomer: QueuedSequence, waiting: Sequence[QueuedSequence], running: Sequence[QueuedSequence]
) -> Sequence[QueuedSequence]:
    """Those whose turn comes before the newcomer's, in order: the next is of the highest priority, and of the tenant
    with the fewest running, and the oldest. Ends change nothing of that, as if each tenant had as many as another."""
    if all(turn[3:] == newcomer[3:] for turn in waiting):
        return waiting
    num_before = Counter(turn.tenant for turn in running)
    keyed = []
    for number, turn in enumerate((*waiting, newcomer)):
        keyed.append((-turn.priority, num_before[turn.tenant], number, turn))
        num_before[turn.tenant] += 1
    last = keyed[-1]
    return [turn for *_, turn in takewhile(lambda one: one is not last, sorted(keyed))]


def _inverse(per_s: float) -> float:
    return 1 / per_s if per_s else 0.0
