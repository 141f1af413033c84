"""Layers with sliding window attention keep the blocks of the window only, and share them between prompts."""

from __future__ import annotations

import pytest

from crossette.engines.openvino.cache_sizes import CacheSizes, CacheUnits, cache_sizes
from crossette.engines.openvino.kv_cache import BLOCK_SIZE
from crossette.engines.openvino.scheduler import Scheduler
from crossette.engines.openvino.settings import OpenVINOSettings
from crossette.engines.openvino.sliding_windows import WindowPool, most_held
from support.schedules import add, make_scheduler, make_sequence, step

WINDOW = 64
CHUNK = 64
ENOUGH = 40
SHARED = tuple(range(5000, 5300))


def scheduler_of(num_window_blocks: int = ENOUGH, num_blocks: int = 60) -> Scheduler:
    return make_scheduler(
        num_blocks=num_blocks,
        max_sequences=4,
        max_step_tokens=CHUNK,
        window=WINDOW,
        num_window_blocks=num_window_blocks,
    )


def windows_of(scheduler: Scheduler) -> WindowPool:
    assert scheduler.caches.windows is not None
    return scheduler.caches.windows


def serve(scheduler: Scheduler, arrival: int, prompt: tuple[int, ...]) -> list[int]:
    """Where the spans of a request with one token of output begin."""
    add(scheduler, make_sequence(arrival, prompt=prompt, max_output=1))
    starts = []
    while not scheduler.idle:
        starts += [span[1] for span in step(scheduler)]
    return starts


def test_a_long_text_holds_the_blocks_of_its_window() -> None:
    scheduler = scheduler_of()
    sequence = make_sequence(0, prompt=1000, max_output=300)
    add(scheduler, sequence)
    most = 0
    for _ in range(16 + 298):
        step(scheduler)
        most = max(most, len(sequence.window_blocks))

    assert len(sequence.blocks) == 41
    assert len(sequence.window_blocks) == WINDOW // BLOCK_SIZE + 1
    assert most == most_held(WINDOW, CHUNK) == 5


def test_long_texts_run_together_in_a_small_pool() -> None:
    scheduler = scheduler_of(num_window_blocks=4 * 6, num_blocks=200)
    add(scheduler, *(make_sequence(arrival, prompt=1000, max_output=200) for arrival in range(4)))
    while not scheduler.idle:
        step(scheduler)

    assert scheduler.num_preemptions == 0
    assert windows_of(scheduler).num_free == 4 * 6


def test_short_texts_that_grow_are_preempted() -> None:
    scheduler = scheduler_of(num_window_blocks=7)
    add(scheduler, *(make_sequence(arrival, prompt=20, max_output=200) for arrival in range(4)))
    while not scheduler.idle:
        step(scheduler)

    assert scheduler.num_preemptions > 0
    assert windows_of(scheduler).pool.num_free == 7


def test_a_conversation_continues_where_its_window_is_cached() -> None:
    scheduler = scheduler_of()

    assert serve(scheduler, 0, SHARED) == [0, 64, 128, 192, 256]
    assert serve(scheduler, 1, (*SHARED, 1, 2)) == [288]


def test_a_prompt_whose_window_was_evicted_begins_where_one_is_left() -> None:
    scheduler = scheduler_of(num_window_blocks=9)
    serve(scheduler, 0, SHARED)
    serve(scheduler, 1, tuple(range(100)))

    # Of the first prompt the last five blocks at most are left: the fork point at 96 has no window any more.
    assert serve(scheduler, 2, (*SHARED[:96], *range(700, 740))) == [0, 64, 128]
    assert scheduler.caches.num_hits == 0


def test_a_window_in_the_middle_of_a_prompt_is_shared_while_it_is_cached() -> None:
    scheduler = scheduler_of()
    serve(scheduler, 0, SHARED)

    assert serve(scheduler, 1, (*SHARED[:160], *range(700, 740))) == [160]


@pytest.mark.parametrize("num_sequences", [1, 64])
def test_sizes_give_a_full_batch_its_windows_and_the_rest_to_other_layers(num_sequences: int) -> None:
    units = CacheUnits(block=1 << 12, window_block=1 << 14, sliding_window=512)
    settings = OpenVINOSettings(kv_cache="256MiB", max_sequences=num_sequences, max_step_tokens=256)

    sizes = cache_sizes(units, 100_000, settings)

    one = most_held(512, 256) + 1
    assert sizes.window_blocks == num_sequences * one
    left = (256 << 20) - sizes.window_blocks * units.window_block
    assert sizes.blocks == min(left // units.block, num_sequences * 3126)


def test_little_memory_gives_both_kinds_as_many_blocks() -> None:
    units = CacheUnits(block=1 << 12, window_block=1 << 14, sliding_window=4096)

    sizes = cache_sizes(units, 2048, OpenVINOSettings(kv_cache="4MiB"))

    assert (sizes.blocks, sizes.window_blocks) == (208, 204)  # the rest of the memory is less than a block of both


def test_a_text_of_the_whole_window_fits_if_it_can() -> None:
    units = CacheUnits(block=1 << 12, window_block=1 << 14, sliding_window=4096)
    settings = OpenVINOSettings(kv_cache="16MiB", max_step_tokens=256)

    sizes = cache_sizes(units, 40_000, settings)

    assert sizes.blocks >= 40_000 / BLOCK_SIZE + 1
    assert sizes.longest_text(units, 256) >= 40_000


def test_without_room_for_a_window_and_a_chunk_texts_are_as_short_as_the_room() -> None:
    units = CacheUnits(block=1 << 12, window_block=1 << 12, sliding_window=4096)

    assert CacheSizes(100, 50).longest_text(units, 256) == 49 * BLOCK_SIZE
    assert CacheSizes(1000, 200).longest_text(units, 256) == 999 * BLOCK_SIZE


def test_layers_that_all_slide_bound_the_memory_of_a_text() -> None:
    units = CacheUnits(block=0, window_block=1 << 14, sliding_window=512)

    sizes = cache_sizes(units, 100_000, OpenVINOSettings(kv_cache="16MiB", max_sequences=64))

    assert sizes.longest_text(units, 256) >= 100_000
    assert sizes.num_bytes(units) <= 16 << 20
