"""The number of pending prompt tokens: shared prefixes count once, cached ones not at all."""

from __future__ import annotations

from typing import Any

import pytest

from crossette.engines.openvino.scheduler import Scheduler
from crossette.engines.openvino.sequence import Sequence
from support.schedules import add, make_scheduler, make_sequence, step

SHARED = tuple(range(96))
"""Three blocks."""


def prompt(number: int, num_more: int = 10) -> tuple[int, ...]:
    """The shared prefix, and tokens of its own."""
    return SHARED + (1000 + number,) * num_more


def scheduler_of(*sequences: Sequence, num_blocks: int = 100, max_sequences: int = 8) -> Scheduler:
    scheduler = make_scheduler(num_blocks, max_sequences, max_step_tokens=64)
    add(scheduler, *sequences)
    return scheduler


def run(scheduler: Scheduler, num_steps: int = 100) -> None:
    for _ in range(num_steps):
        if not scheduler.idle:
            step(scheduler)


def test_a_single_prompt_counts_until_it_is_computed() -> None:
    scheduler = scheduler_of(make_sequence(0, 100))
    pending = [scheduler.num_pending_prompt_tokens]
    for _ in range(2):
        step(scheduler)
        pending.append(scheduler.num_pending_prompt_tokens)

    assert pending == [100, 36, 0]


def test_cached_blocks_do_not_count() -> None:
    scheduler = scheduler_of(make_sequence(0, prompt(0), max_output=1))
    run(scheduler)
    add(scheduler, make_sequence(1, prompt(1)), make_sequence(2, 50))

    assert scheduler.num_pending_prompt_tokens == 10 + 50


def test_a_shared_prefix_counts_once_until_it_is_computed() -> None:
    scheduler = scheduler_of(*(make_sequence(number, prompt(number)) for number in range(32)))

    assert scheduler.num_pending_prompt_tokens == 96 + 32 * 10


def test_an_announced_prompt_counts_at_once_and_not_twice() -> None:
    scheduler = scheduler_of()
    first, second = (make_sequence(number, prompt(number)) for number in range(2))
    scheduler.announce(first)
    scheduler.announce(second)
    pending = [sequence.num_pending_prompt for sequence in (first, second)]
    add(scheduler, first, second)

    assert (pending, scheduler.num_pending_prompt_tokens) == ([106, 10], 116)


@pytest.mark.parametrize("others", [{"tenant": "b"}, {"isolation_key": "b"}])
def test_other_tenants_and_isolation_keys_count_their_whole_prompt(others: dict[str, Any]) -> None:
    scheduler = scheduler_of(make_sequence(0, prompt(0)), make_sequence(1, prompt(1), **others))

    assert scheduler.num_pending_prompt_tokens == 2 * 106


def test_a_scored_prompt_is_computed_whole_and_others_may_share_it() -> None:
    scheduler = scheduler_of(
        *(make_sequence(number, prompt(number), prompt_logprobs=number < 2) for number in range(3))
    )

    assert scheduler.num_pending_prompt_tokens == 106 + 106 + 10


def test_a_prefix_promised_by_a_removed_sequence_is_promised_by_the_next_one() -> None:
    removed, remaining = make_sequence(0, prompt(0)), make_sequence(1, prompt(1))
    scheduler = scheduler_of(removed, remaining)
    scheduler.remove(removed)
    assert scheduler.num_pending_prompt_tokens == 10  # too few, until another sequence arrives

    add(scheduler, make_sequence(2, prompt(2)), make_sequence(3, prompt(3)))

    assert scheduler.num_pending_prompt_tokens == 10 + 106 + 10


def test_a_choice_that_replaces_a_cancelled_one_promises_the_prompt() -> None:
    first, successor = make_sequence(0, prompt(0)), make_sequence(0, prompt(0), index=1)
    first.forks = [successor]
    scheduler = scheduler_of(first)
    assert (successor.num_pending_prompt, scheduler.num_pending_prompt_tokens) == (10, 106)

    scheduler.remove(first)
    add(scheduler, make_sequence(1, prompt(1)))

    assert scheduler.num_pending_prompt_tokens == 106 + 10


def test_a_preempted_sequence_recomputes_evicted_blocks() -> None:
    older, younger = make_sequence(0, 60, max_output=300), make_sequence(1, 62, max_output=300)
    scheduler = scheduler_of(older, younger, num_blocks=6)
    while not scheduler.num_preemptions:
        step(scheduler)

    assert scheduler.waiting == [younger]
    assert scheduler.num_pending_prompt_tokens == 62 - 32  # one of its blocks is still cached


def test_cached_blocks_count_as_needed_unless_another_sequence_holds_them() -> None:
    scheduler = scheduler_of(make_sequence(0, prompt(0), max_output=1))
    run(scheduler)
    first = make_sequence(1, prompt(1))
    add(scheduler, first)
    second = make_sequence(2, prompt(2))
    add(scheduler, second)
    assert (first.num_own_blocks, second.num_own_blocks) == (4, 4)

    step(scheduler)
    late = make_sequence(3, prompt(3))
    add(scheduler, late)

    assert (late.num_own_blocks, scheduler.caches.prefixes.num_held(late.keys)) == (1, 3)
