"""How many tokens of prompts are still to be computed: each once, and none that the prefix cache has."""

from __future__ import annotations

from typing import Any

import pytest

from crossette.engines.openvino.scheduler import Scheduler
from crossette.engines.openvino.sequence import Sequence
from support.schedules import add, make_scheduler, make_sequence, step

SHARED = tuple(range(96))
"""Three blocks."""


def prompt(number: int, num_more: int = 10) -> tuple[int, ...]:
    """The shared beginning, and an end of its own."""
    return SHARED + (1000 + number,) * num_more


def scheduler_of(*sequences: Sequence, num_blocks: int = 100, max_sequences: int = 8) -> Scheduler:
    scheduler = make_scheduler(num_blocks, max_sequences, max_step_tokens=64)
    add(scheduler, *sequences)
    return scheduler


def run(scheduler: Scheduler, num_steps: int = 100) -> None:
    for _ in range(num_steps):
        if not scheduler.idle:
            step(scheduler)


def test_a_prompt_alone_counts_until_it_is_computed() -> None:
    scheduler = scheduler_of(make_sequence(0, 100))
    pending = [scheduler.num_pending_prompt_tokens]
    for _ in range(2):
        step(scheduler)
        pending.append(scheduler.num_pending_prompt_tokens)

    assert pending == [100, 36, 0]


def test_what_the_cache_has_does_not_count() -> None:
    scheduler = scheduler_of(make_sequence(0, prompt(0), max_output=1))
    run(scheduler)
    add(scheduler, make_sequence(1, prompt(1)), make_sequence(2, 50))

    assert scheduler.num_pending_prompt_tokens == 10 + 50


def test_a_beginning_that_many_share_counts_once_while_nobody_has_computed_it() -> None:
    scheduler = scheduler_of(*(make_sequence(number, prompt(number)) for number in range(32)))

    assert scheduler.num_pending_prompt_tokens == 96 + 32 * 10


def test_it_counts_from_the_moment_it_is_announced_and_not_twice() -> None:
    scheduler = scheduler_of()
    first, second = (make_sequence(number, prompt(number)) for number in range(2))
    scheduler.announce(first)
    scheduler.announce(second)
    pending = [sequence.num_pending_prompt for sequence in (first, second)]
    add(scheduler, first, second)

    assert (pending, scheduler.num_pending_prompt_tokens) == ([106, 10], 116)


@pytest.mark.parametrize("others", [{"tenant": "b"}, {"isolation_key": "b"}])
def test_who_may_not_share_has_all_to_compute(others: dict[str, Any]) -> None:
    scheduler = scheduler_of(make_sequence(0, prompt(0)), make_sequence(1, prompt(1), **others))

    assert scheduler.num_pending_prompt_tokens == 2 * 106


def test_a_prompt_to_be_scored_is_computed_whole_and_others_may_take_it_over() -> None:
    scheduler = scheduler_of(
        *(make_sequence(number, prompt(number), prompt_logprobs=number < 2) for number in range(3))
    )

    assert scheduler.num_pending_prompt_tokens == 106 + 106 + 10


def test_what_somebody_was_going_to_compute_who_left_is_promised_by_the_next() -> None:
    leaver, stayer = make_sequence(0, prompt(0)), make_sequence(1, prompt(1))
    scheduler = scheduler_of(leaver, stayer)
    scheduler.remove(leaver)
    assert scheduler.num_pending_prompt_tokens == 10  # too little, until somebody else comes

    add(scheduler, make_sequence(2, prompt(2)), make_sequence(3, prompt(3)))

    assert scheduler.num_pending_prompt_tokens == 10 + 106 + 10


def test_a_choice_that_takes_the_place_of_a_cancelled_one_promises_the_prompt() -> None:
    first, heir = make_sequence(0, prompt(0)), make_sequence(0, prompt(0), index=1)
    first.forks = [heir]
    scheduler = scheduler_of(first)
    assert (heir.num_pending_prompt, scheduler.num_pending_prompt_tokens) == (10, 106)

    scheduler.remove(first)
    add(scheduler, make_sequence(1, prompt(1)))

    assert scheduler.num_pending_prompt_tokens == 106 + 10


def test_who_was_preempted_has_to_compute_what_the_cache_has_lost() -> None:
    elder, younger = make_sequence(0, 60, max_output=300), make_sequence(1, 62, max_output=300)
    scheduler = scheduler_of(elder, younger, num_blocks=6)
    while not scheduler.num_preemptions:
        step(scheduler)

    assert scheduler.waiting == [younger]
    assert scheduler.num_pending_prompt_tokens == 62 - 32  # a block of it is in the cache still


def test_blocks_that_others_hold_are_not_counted_as_needed_and_those_that_nobody_holds_are() -> None:
    scheduler = scheduler_of(make_sequence(0, prompt(0), max_output=1))
    run(scheduler)
    kept = make_sequence(1, prompt(1))
    add(scheduler, kept)
    shared = make_sequence(2, prompt(2))
    add(scheduler, shared)
    assert (kept.num_own_blocks, shared.num_own_blocks) == (4, 4)

    step(scheduler)
    late = make_sequence(3, prompt(3))
    add(scheduler, late)

    assert (late.num_own_blocks, scheduler.cache.num_held(late.keys)) == (1, 3)
