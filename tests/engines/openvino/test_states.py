"""Rows of recurrent states step by step: snapshots of prompts, forks and draft tokens, without a model."""

from __future__ import annotations

from crossette.engines.openvino.cache_sizes import CacheUnits, cache_sizes
from crossette.engines.openvino.scheduler import Scheduler
from crossette.engines.openvino.settings import OpenVINOSettings
from crossette.engines.openvino.states import StatePool
from support.schedules import add, make_scheduler, make_sequence, step

SHARED = tuple(range(5000, 5070))


def states_of(scheduler: Scheduler) -> StatePool:
    assert scheduler.caches.states is not None
    return scheduler.caches.states


def serve(scheduler: Scheduler, arrival: int, prompt: tuple[int, ...]) -> list[tuple[int, int, int, bool]]:
    """The spans of a request with one token of output."""
    add(scheduler, make_sequence(arrival, prompt=prompt, max_output=1))
    spans = []
    while not scheduler.idle:
        spans += step(scheduler)
    return spans


def test_a_prompt_is_cut_at_its_last_border_and_continued_from_there() -> None:
    scheduler = make_scheduler(num_rows=4, max_sequences=2)

    assert serve(scheduler, 0, SHARED) == [(0, 0, 64, False), (0, 64, 6, True)]
    assert serve(scheduler, 1, (*SHARED, *range(50))) == [(1, 64, 32, False), (1, 96, 24, True)]


def test_blocks_without_a_snapshot_are_computed_again() -> None:
    scheduler = make_scheduler(num_rows=4, max_sequences=2)
    serve(scheduler, 0, SHARED)

    # Its last border is the first block's end, of which there is no snapshot, although the block is cached.
    assert serve(scheduler, 1, SHARED[:40]) == [(1, 0, 32, False), (1, 32, 8, True)]


def test_the_third_prompt_is_continued_where_two_have_parted() -> None:
    scheduler = make_scheduler(num_rows=6, max_sequences=2)
    first, second, third = ((*SHARED[:32], *range(tail, tail + 70)) for tail in (100, 200, 300))
    serve(scheduler, 0, first)

    assert [span[1] for span in serve(scheduler, 1, second)] == [0, 32, 96]
    assert [span[1] for span in serve(scheduler, 2, third)] == [32, 96]


def test_equal_prompts_wait_for_the_snapshot_of_the_first() -> None:
    scheduler = make_scheduler(num_rows=8, max_sequences=4)
    add(scheduler, *(make_sequence(arrival, prompt=SHARED, max_output=5) for arrival in range(3)))

    assert step(scheduler) == [(0, 0, 64, False)]
    assert step(scheduler) == [(arrival, 64, 6, True) for arrival in range(3)]


def test_snapshots_give_way_to_sequences_the_least_recently_used_first() -> None:
    scheduler = make_scheduler(num_rows=3, max_sequences=2)
    for arrival in range(3):
        serve(scheduler, arrival, tuple(range(arrival * 100, arrival * 100 + 40)))
    kept = states_of(scheduler)._snapshots
    newest = list(kept)[-1]

    assert len(kept) == 2  # the third prompt's own row was that of the first one's snapshot
    add(scheduler, make_sequence(9, prompt=20), make_sequence(10, prompt=20))
    step(scheduler)
    assert (list(kept), states_of(scheduler).num_free) == ([newest], 1)


def test_states_get_half_of_the_memory_at_most() -> None:
    settings = OpenVINOSettings(kv_cache="64MiB", max_sequences=64)

    sizes = cache_sizes(CacheUnits(block=1 << 14, row=1 << 20), 4096, settings)

    assert (sizes.rows, sizes.blocks) == (32, 2048)
    assert cache_sizes(CacheUnits(block=1 << 14), 4096, settings).rows == 0


def test_who_waited_for_a_snapshot_continues_from_a_copy_of_it() -> None:
    scheduler = make_scheduler(num_rows=8, max_sequences=4)
    first, second = (make_sequence(arrival, prompt=SHARED, max_output=5) for arrival in range(2))
    add(scheduler, first, second)
    step(scheduler)
    (snapshot,) = states_of(scheduler)._snapshots.values()

    assert scheduler.schedule().row_copies == ((first.rows[0], snapshot), (snapshot, second.rows[0]))
