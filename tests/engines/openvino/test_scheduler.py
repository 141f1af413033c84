"""The scheduler step by step, without a model."""

from __future__ import annotations

from typing import Any

import pytest

from crossette.engines.openvino.cache_manager import fits
from crossette.engines.openvino.kv_cache import BlockPool
from crossette.engines.openvino.scheduler import Scheduler
from crossette.engines.openvino.sequence import SampledToken, Sequence
from crossette.types import FinishReason
from support.engine_calls import make_request
from support.schedules import add, make_scheduler, make_sequence, spans, step


def test_a_prompt_that_fits_is_computed_at_once_and_outputs_token_by_token() -> None:
    scheduler = make_scheduler()
    add(scheduler, make_sequence(0, prompt=50))

    assert [step(scheduler) for _ in range(3)] == [[(0, 0, 50, True)], [(0, 50, 1, True)], [(0, 51, 1, True)]]


def test_a_long_prompt_is_computed_in_chunks_of_the_budget() -> None:
    scheduler = make_scheduler(max_step_tokens=32)
    add(scheduler, make_sequence(0, prompt=70))

    assert [step(scheduler) for _ in range(3)] == [[(0, 0, 32, False)], [(0, 32, 32, False)], [(0, 64, 6, True)]]


def test_the_last_chunk_is_never_a_single_token() -> None:
    scheduler = make_scheduler(max_step_tokens=32)
    add(scheduler, make_sequence(0, prompt=65))

    assert [step(scheduler) for _ in range(3)] == [[(0, 0, 32, False)], [(0, 32, 31, False)], [(0, 63, 2, True)]]


def test_a_prompt_of_one_token_is_computed() -> None:
    scheduler = make_scheduler()
    add(scheduler, make_sequence(0, prompt=1))

    assert step(scheduler) == [(0, 0, 1, True)]


def test_decode_tokens_come_first_and_prompts_share_the_rest_oldest_first() -> None:
    scheduler = make_scheduler(max_step_tokens=40)
    add(scheduler, make_sequence(0, prompt=5))
    step(scheduler)
    add(scheduler, make_sequence(1, prompt=30), make_sequence(2, prompt=30))

    assert step(scheduler) == [(0, 5, 1, True), (1, 0, 30, True), (2, 0, 9, False)]


def test_sequences_are_served_by_arrival_whatever_the_order_of_adding() -> None:
    scheduler = make_scheduler(max_sequences=1)
    add(scheduler, make_sequence(2, max_output=1), make_sequence(0, max_output=1), make_sequence(1, max_output=1))

    assert [step(scheduler)[0][0] for _ in range(3)] == [0, 1, 2]


def test_further_sequences_wait_until_a_slot_is_free() -> None:
    scheduler = make_scheduler(max_sequences=2)
    add(scheduler, *(make_sequence(i, max_output=2) for i in range(3)))

    served = [[arrival for arrival, *_ in step(scheduler)] for _ in range(4)]

    assert served == [[0, 1], [0, 1], [2], [2]]
    assert scheduler.idle


def test_a_new_sequence_waits_until_a_block_is_left_for_each_running_one() -> None:
    scheduler = make_scheduler(num_blocks=4)
    add(scheduler, make_sequence(0, prompt=64))  # two blocks
    step(scheduler)
    add(scheduler, make_sequence(1, prompt=33))  # two blocks, and one must stay free

    assert step(scheduler) == [(0, 64, 1, True)]
    assert [sequence.arrival for sequence in scheduler.waiting] == [1]


def test_the_youngest_is_preempted_and_recomputed_in_the_same_way() -> None:
    scheduler = make_scheduler(num_blocks=4, max_step_tokens=64)
    old, young = make_sequence(0, prompt=60, max_output=40), make_sequence(1, prompt=20, max_output=40)
    add(scheduler, old, young)
    while not scheduler.num_preemptions:
        step(scheduler)
    assert (old.num_tokens, young.num_tokens, young.blocks, young.num_computed) == (75, 33, [], 0)
    while old.finish_reason is None:
        assert step(scheduler) == [(0, old.num_tokens - 2, 1, True)]

    assert step(scheduler) == [(1, 0, 20, False)]
    assert step(scheduler) == [(1, 20, 13, True)]
    assert step(scheduler) == [(1, 33, 1, True)]


def test_an_end_token_ends_a_sequence_and_frees_its_blocks() -> None:
    scheduler = make_scheduler()
    sequence = make_sequence(0, end=9)
    add(scheduler, sequence)
    step(scheduler)
    step(scheduler, token=9)

    assert (sequence.output, sequence.finish_reason) == ([1, 9], FinishReason.STOP)
    assert (scheduler.idle, scheduler.caches.pool.num_free) == (True, 16)


def test_removing_a_waiting_running_or_removed_sequence_frees_its_blocks() -> None:
    scheduler = make_scheduler(max_sequences=1)
    running, waiting = make_sequence(0), make_sequence(1)
    add(scheduler, running, waiting)
    step(scheduler)

    for sequence in (waiting, running, running):
        scheduler.remove(sequence)

    assert (scheduler.idle, scheduler.caches.pool.num_free, spans(scheduler.schedule())) == (True, 16, [])


def test_a_request_fits_with_its_prompt_and_a_block_per_choice() -> None:
    pool = BlockPool(4)

    assert [fits(pool, tokens, choices) for tokens, choices in ((96, 1), (97, 1), (64, 2), (65, 2))] == [
        True,
        False,
        True,
        False,
    ]


# --- shared prefixes ---

PREFIX = tuple(range(500, 596))  # three blocks


def test_a_prompt_starts_after_its_cached_blocks_and_computes_at_least_two_tokens() -> None:
    scheduler = make_scheduler()
    add(scheduler, make_sequence(0, PREFIX, max_output=1))
    step(scheduler)

    add(scheduler, make_sequence(1, (*PREFIX, 1), max_output=1))
    assert step(scheduler) == [(1, 64, 33, True)]  # a third block would leave one token
    add(scheduler, make_sequence(2, (*PREFIX, 1, 2), max_output=1))
    assert step(scheduler) == [(2, 96, 2, True)]


@pytest.mark.parametrize(("keeps_output", "cached"), [(False, 96), (True, 128)])
def test_blocks_of_output_are_reused_where_they_are_exact(keeps_output: bool, cached: int) -> None:
    """Also one that begins in the prompt, but not one whose last token is not computed."""
    scheduler = make_scheduler(keeps_output=keeps_output)
    add(scheduler, make_sequence(0, (*PREFIX, 7, 8), max_output=63))
    while not scheduler.idle:
        step(scheduler, token=5)
    text = (*PREFIX, 7, 8, *[5] * 63)
    assert len(text) == 161
    add(scheduler, make_sequence(1, text, max_output=1))
    assert step(scheduler) == [(1, cached, 161 - cached, True)]


def test_cached_tokens_are_reported_once_with_the_first_token() -> None:
    scheduler = make_scheduler()
    add(scheduler, make_sequence(0, PREFIX, max_output=1))
    step(scheduler)
    sequence = make_sequence(1, (*PREFIX, 1, 2))
    add(scheduler, sequence)

    cached = []
    for _ in range(3):
        (_, output), *_ = scheduler.update(scheduler.schedule(), [SampledToken(sequence, (1,))])
        cached.append(output.cached_tokens)

    assert cached == [96, 0, 0]


def test_prompts_that_arrive_together_compute_a_shared_prefix_once() -> None:
    scheduler = make_scheduler(max_step_tokens=40)
    add(scheduler, *(make_sequence(i, (*PREFIX, 900 + i, 1, 2)) for i in range(3)))

    computed: list[tuple[int, int, int]] = []
    for _ in range(8):
        computed += [(arrival, start, count) for arrival, start, count, _ in step(scheduler) if start < 99]

    assert sum(count for *_, count in computed) == 99 + 3 + 3
    assert [start for arrival, start, _ in computed if arrival > 0] == [96, 96]


def test_another_tenant_or_isolation_key_has_no_hits() -> None:
    scheduler = make_scheduler(num_blocks=32)
    add(scheduler, make_sequence(0, PREFIX, max_output=1, tenant="a", isolation_key="x"))
    step(scheduler)

    others: list[dict[str, Any]] = [{"tenant": "b", "isolation_key": "x"}, {"tenant": "a"}, {}]
    for arrival, fields in enumerate(others, 1):
        add(scheduler, make_sequence(arrival, (*PREFIX, 1, 2), max_output=1, **fields))
        assert step(scheduler)[0][:2] == (arrival, 0)


def test_blocks_with_output_tokens_are_never_cached() -> None:
    """Output tokens are computed one by one: the same tokens in another prompt must be computed in chunks."""
    scheduler = make_scheduler()
    first = make_sequence(0, PREFIX[:20], max_output=60)
    add(scheduler, first)
    while not scheduler.idle:
        step(scheduler)

    add(scheduler, make_sequence(1, (*first.prompt, *first.output, 1, 2)))

    assert step(scheduler)[0][:2] == (1, 0)


def test_the_least_recently_used_blocks_are_evicted_first_and_ends_of_sequences_before_prefixes() -> None:
    scheduler = make_scheduler(num_blocks=8)
    for arrival in range(2):
        add(scheduler, make_sequence(arrival, (arrival, *PREFIX[1:]), max_output=1))
        step(scheduler), step(scheduler)
    add(scheduler, make_sequence(2, 100, max_output=1))  # four blocks: two are empty, two must be evicted
    step(scheduler), step(scheduler)

    add(scheduler, make_sequence(3, (1, *PREFIX[1:], 1, 2), max_output=1))
    assert step(scheduler) == [(3, 96, 2, True)]
    add(scheduler, make_sequence(4, (0, *PREFIX[1:], 1, 2), max_output=1))
    assert step(scheduler)[0][:2] == (4, 32)


def test_a_scored_prompt_is_computed_whole_and_cached() -> None:
    scheduler = make_scheduler(max_step_tokens=200)
    add(scheduler, make_sequence(0, PREFIX, max_output=1))
    step(scheduler)

    add(scheduler, make_sequence(1, (*PREFIX, 1), max_output=1, prompt_logprobs=True, logprobs=0))
    assert step(scheduler) == [(1, 0, 97, True)]


# --- choices ---


def make_choices(n: int, prompt: int, max_output: int = 4) -> list[Sequence]:
    request = make_request(tuple(range(prompt)), n=n, ignore_eos=False)
    choices = [Sequence(request, i, arrival=i, seed=i, max_output=max_output) for i in range(n)]
    choices[0].forks = choices[1:]
    return choices


def test_choices_compute_the_prompt_once_and_share_its_full_blocks() -> None:
    scheduler = make_scheduler()
    choices = make_choices(3, prompt=50)
    add(scheduler, choices[0])

    assert step(scheduler) == [(0, 0, 50, True)]
    assert [len(choice.output) for choice in choices] == [1, 1, 1]
    assert [choice.blocks[0] for choice in choices] == [choices[0].blocks[0]] * 3
    assert len({choice.blocks[1] for choice in choices}) == 3
    batch = scheduler.schedule()
    assert set(batch.copies) == {(choices[0].blocks[1], choices[i].blocks[1]) for i in (1, 2)}
    assert scheduler.caches.pool.num_blocks - scheduler.caches.pool.num_free == 4


def test_choices_without_room_wait_and_find_the_prompt_in_the_cache() -> None:
    scheduler = make_scheduler(max_sequences=2, max_step_tokens=64)
    choices = make_choices(3, prompt=70, max_output=1)
    add(scheduler, choices[0])

    assert step(scheduler) == [(0, 0, 64, False)]
    assert step(scheduler) == [(0, 64, 6, True)]
    assert step(scheduler) == [(2, 64, 6, True)]
    assert scheduler.idle
    # Their own request computed it, so nothing was saved.
    assert ([choice.num_cached for choice in choices], scheduler.caches.num_hits) == ([0, 0, 0], 0)


def test_when_the_first_choice_is_removed_another_computes_the_prompt() -> None:
    scheduler = make_scheduler()
    choices = make_choices(3, prompt=100)
    add(scheduler, choices[0])
    step(scheduler)
    scheduler.remove(choices[0])
    scheduler.remove(choices[2])

    assert step(scheduler)[0][0] == 1
    scheduler.remove(choices[1])
    assert (scheduler.idle, scheduler.caches.pool.num_free) == (True, 16)


# --- begun sequences ---


def begun(scheduler: Scheduler) -> list[int]:
    """Run a step; return the arrivals of the sequences for which it was the first."""
    step(scheduler)
    return [sequence.arrival for sequence in scheduler.begun]


def test_a_sequence_has_not_begun_while_the_budget_goes_to_others() -> None:
    scheduler = make_scheduler(max_step_tokens=40)
    add(scheduler, make_sequence(0, prompt=60), make_sequence(1, prompt=30))

    assert begun(scheduler) == [0]
    assert len(scheduler.running) == 2
    assert [begun(scheduler) for _ in range(3)] == [[1], [], []]


def test_a_sequence_that_waits_for_shared_blocks_has_not_begun() -> None:
    scheduler = make_scheduler(max_step_tokens=64)
    prompt = tuple(range(70))
    add(scheduler, make_sequence(0, prompt), make_sequence(1, prompt))

    assert [begun(scheduler) for _ in range(3)] == [[0], [1], []]


def test_a_preempted_sequence_begins_only_once() -> None:
    scheduler = make_scheduler(num_blocks=4, max_step_tokens=64)
    add(scheduler, make_sequence(0, prompt=60, max_output=40), make_sequence(1, prompt=20, max_output=40))

    seen = []
    while not scheduler.idle:
        seen += begun(scheduler)
    assert (scheduler.num_preemptions, seen) == (1, [0, 1])


def test_a_choice_begins_with_the_first_one_or_later_by_itself() -> None:
    scheduler = make_scheduler(max_sequences=2, max_step_tokens=64)
    add(scheduler, make_choices(3, prompt=70, max_output=1)[0])

    assert [begun(scheduler) for _ in range(3)] == [[0], [], [2]]


# --- admission order ---


def test_a_tenant_with_many_requests_does_not_starve_another() -> None:
    scheduler = make_scheduler(max_sequences=2)
    add(scheduler, *(make_sequence(i, max_output=2, tenant="many") for i in range(4)))
    step(scheduler)
    add(scheduler, make_sequence(4, max_output=2, tenant="one"))
    step(scheduler)

    assert {arrival for arrival, *_ in step(scheduler)} == {2, 4}


def test_a_higher_priority_is_admitted_first() -> None:
    scheduler = make_scheduler(max_sequences=1)
    add(scheduler, make_sequence(0, max_output=1), make_sequence(1, max_output=1, priority=1))

    assert [step(scheduler)[0][0] for _ in range(2)] == [1, 0]


def test_a_sequence_in_the_background_leaves_its_slot_and_goes_on_later() -> None:
    scheduler = make_scheduler(max_sequences=2)
    add(scheduler, make_sequence(0, priority=-9), make_sequence(1, priority=-9))
    step(scheduler)
    step(scheduler)
    add(scheduler, make_sequence(2, max_output=1))

    assert step(scheduler) == [(0, 11, 1, True), (2, 0, 10, True)]
    assert scheduler.num_preemptions == 1
    step(scheduler)
    assert sorted(sequence.arrival for sequence in scheduler.running) == [0, 1]


def test_a_sequence_in_the_background_leaves_its_blocks() -> None:
    scheduler = make_scheduler(num_blocks=8)
    add(scheduler, make_sequence(0, prompt=96, priority=-9), make_sequence(1, prompt=64, priority=-9))
    step(scheduler)
    add(scheduler, make_sequence(2, prompt=100))

    assert [arrival for arrival, *_ in step(scheduler)] == [0, 2]
    assert scheduler.num_preemptions == 1


def test_none_is_preempted_where_that_is_not_enough() -> None:
    scheduler = make_scheduler(num_blocks=8)
    add(scheduler, make_sequence(0, prompt=150), make_sequence(1, prompt=20, priority=-9))
    step(scheduler)
    add(scheduler, make_sequence(2, prompt=120))
    step(scheduler)

    assert (scheduler.num_preemptions, len(scheduler.running)) == (0, 2)


def test_shared_blocks_of_the_background_do_not_count_as_room_for_others() -> None:
    scheduler = make_scheduler(num_blocks=6)
    shared = tuple(range(64))
    add(scheduler, make_sequence(0, prompt=shared))
    step(scheduler)
    add(scheduler, make_sequence(1, prompt=(*shared, 7, 8), priority=-9))
    step(scheduler)
    assert len(scheduler.running) == 2
    add(scheduler, make_sequence(2, prompt=120))
    step(scheduler)

    assert scheduler.num_preemptions == 0


def test_the_background_gets_what_others_leave_of_a_steps_budget() -> None:
    scheduler = make_scheduler(num_blocks=64, max_step_tokens=100)
    add(scheduler, *(make_sequence(index, priority=-9) for index in range(4)))
    step(scheduler)
    assert len(step(scheduler)) == 4
    add(scheduler, make_sequence(4))
    step(scheduler)
    add(scheduler, make_sequence(5, prompt=20))

    batch = scheduler.schedule(budget=23)

    assert spans(batch) == [(4, 10, 1, True), (0, 12, 1, True), (1, 12, 1, True), (5, 0, 20, True)]


def test_the_background_alone_decodes_beyond_the_budget() -> None:
    scheduler = make_scheduler(num_blocks=64)
    add(scheduler, *(make_sequence(index, priority=-9) for index in range(4)))
    step(scheduler)

    assert scheduler.num_decoding == 0
    assert len(scheduler.schedule(budget=2).spans) == 4


def test_no_priority_preempts_the_default() -> None:
    scheduler = make_scheduler(max_sequences=1)
    add(scheduler, make_sequence(0))
    step(scheduler)
    add(scheduler, make_sequence(1, priority=1))
    step(scheduler)

    assert scheduler.num_preemptions == 0


def test_prompts_are_computed_by_priority() -> None:
    scheduler = make_scheduler(max_step_tokens=40)
    add(scheduler, make_sequence(0, prompt=90, priority=-1), make_sequence(1, prompt=90))

    assert [step(scheduler) for _ in range(3)] == [
        [(1, 0, 40, False)],
        [(1, 40, 40, False)],
        [(1, 80, 10, True), (0, 0, 30, False)],
    ]


def test_where_memory_runs_short_the_lowest_priority_is_preempted() -> None:
    scheduler = make_scheduler(num_blocks=4)
    add(scheduler, make_sequence(0, prompt=31, priority=-1), make_sequence(1, prompt=31))
    while not scheduler.num_preemptions:
        step(scheduler)

    assert [sequence.arrival for sequence in scheduler.running] == [1]


def test_a_small_budget_limits_chunks_and_not_decoding() -> None:
    scheduler = make_scheduler(max_step_tokens=64)
    add(scheduler, make_sequence(0, prompt=5))
    step(scheduler)
    add(scheduler, make_sequence(1, prompt=60))

    assert spans(scheduler.schedule(budget=21)) == [(0, 5, 1, True), (1, 0, 20, False)]


# --- draft tokens ---


def test_draft_tokens_are_added_only_while_the_step_is_narrow() -> None:
    scheduler = make_scheduler()
    scheduler.max_draft_rows = 4
    copying = make_sequence(0, (1, 2, 3, 4, 5, 6, 7, 8, 1, 2))
    add(scheduler, copying)
    step(scheduler, token=3)

    assert scheduler.schedule().spans[0].drafts == (4, 5, 6)
    add(scheduler, *(make_sequence(i) for i in range(1, 5)))
    step(scheduler, token=9)
    assert [span.drafts for span in scheduler.schedule().spans] == [()] * 5


def test_draft_tokens_never_exceed_the_blocks_or_the_limit() -> None:
    scheduler = make_scheduler()
    scheduler.max_draft_rows = 20
    at_the_end_of_a_block = make_sequence(0, (*range(14), *range(14), 0, 1))
    add(scheduler, at_the_end_of_a_block)
    step(scheduler, token=2)
    assert len(scheduler.schedule().spans[0].drafts) == 1  # 32 slots: 31 tokens are known

    scheduler = make_scheduler()
    scheduler.max_draft_rows = 20
    add(scheduler, make_sequence(0, (*range(9), 0, 1), max_output=3))
    step(scheduler, token=2)
    assert scheduler.schedule().spans[0].drafts == (3,)


# --- forced tokens ---


def test_forced_tokens_are_computed_together_in_the_next_step() -> None:
    scheduler = make_scheduler(num_blocks=4)
    sequence = make_sequence(0, prompt=10)
    add(scheduler, sequence)
    batch = scheduler.schedule()
    scheduler.update(batch, [SampledToken(sequence, (1, *range(40)), num_forced=40)])

    assert (len(sequence.output), sequence.num_computed) == (41, 10)
    assert step(scheduler) == [(0, 10, 41, True)]
    assert step(scheduler) == [(0, 51, 1, True)]
