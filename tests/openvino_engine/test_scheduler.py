"""Which tokens run next, step by step, with plain numbers for tokens and no model."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain

from hypothesis import given, settings
from hypothesis import strategies as st

from crossette.engines.openvino.kv_cache import BLOCK_SIZE, BlockPool, blocks_for
from crossette.engines.openvino.scheduler import Scheduler, fits
from crossette.engines.openvino.sequence import Batch, Sequence
from crossette.types import FinishReason
from engine_calls import make_request


def make_scheduler(num_blocks: int = 16, max_sequences: int = 8, max_step_tokens: int = 64) -> Scheduler:
    return Scheduler(BlockPool(num_blocks), max_sequences=max_sequences, max_step_tokens=max_step_tokens)


def make_sequence(arrival: int, prompt: int = 10, max_output: int = 100, end: int = -1) -> Sequence:
    request = make_request((7,) * prompt, end_token_ids=frozenset({end}), ignore_eos=False)
    return Sequence(request, 0, arrival=arrival, seed=0, max_output=max_output)


def add(scheduler: Scheduler, *sequences: Sequence) -> None:
    for sequence in sequences:
        scheduler.add(sequence)


def spans(batch: Batch) -> list[tuple[int, int, int, bool]]:
    """Arrival, start, count and whether a token is drawn."""
    return [(span.sequence.arrival, span.start, span.count, span.samples) for span in batch.spans]


def step(scheduler: Scheduler, token: int = 1) -> list[tuple[int, int, int, bool]]:
    batch = scheduler.schedule()
    scheduler.update(batch, [token] * len(batch.sampled))
    return spans(batch)


def test_a_prompt_is_computed_at_once_where_it_fits_and_then_row_by_row() -> None:
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


def test_a_prompt_of_one_token_is_one_row() -> None:
    scheduler = make_scheduler()
    add(scheduler, make_sequence(0, prompt=1))

    assert step(scheduler) == [(0, 0, 1, True)]


def test_decoding_comes_first_and_prompts_share_what_is_left_oldest_first() -> None:
    scheduler = make_scheduler(max_step_tokens=40)
    add(scheduler, make_sequence(0, prompt=5))
    step(scheduler)
    add(scheduler, make_sequence(1, prompt=30), make_sequence(2, prompt=30))

    assert step(scheduler) == [(0, 5, 1, True), (1, 0, 30, True), (2, 0, 9, False)]


def test_who_comes_first_is_served_first_whatever_the_order_of_adding() -> None:
    scheduler = make_scheduler(max_sequences=1)
    add(scheduler, make_sequence(2, max_output=1), make_sequence(0, max_output=1), make_sequence(1, max_output=1))

    assert [step(scheduler)[0][0] for _ in range(3)] == [0, 1, 2]


def test_a_full_batch_lets_others_wait_until_a_place_is_free() -> None:
    scheduler = make_scheduler(max_sequences=2)
    add(scheduler, *(make_sequence(i, max_output=2) for i in range(3)))

    served = [[arrival for arrival, *_ in step(scheduler)] for _ in range(4)]

    assert served == [[0, 1], [0, 1], [2], [2]]
    assert scheduler.idle


def test_a_newcomer_waits_until_a_block_is_left_for_each_that_runs() -> None:
    scheduler = make_scheduler(num_blocks=4)
    add(scheduler, make_sequence(0, prompt=64))  # two blocks
    step(scheduler)
    add(scheduler, make_sequence(1, prompt=33))  # two blocks, and one should stay free

    assert step(scheduler) == [(0, 64, 1, True)]
    assert [sequence.arrival for sequence in scheduler.waiting] == [1]


def test_the_youngest_gives_way_and_is_recomputed_as_it_was_computed() -> None:
    scheduler = make_scheduler(num_blocks=4)
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
    assert (scheduler.idle, scheduler.pool.num_free) == (True, 16)


def test_removing_frees_at_once_whether_it_waits_runs_or_is_gone() -> None:
    scheduler = make_scheduler(max_sequences=1)
    running, waiting = make_sequence(0), make_sequence(1)
    add(scheduler, running, waiting)
    step(scheduler)

    for sequence in (waiting, running, running):
        scheduler.remove(sequence)

    assert (scheduler.idle, scheduler.pool.num_free, spans(scheduler.schedule())) == (True, 16, [])


def test_what_fits_is_a_prompt_and_a_block_for_each_choice() -> None:
    pool = BlockPool(4)

    assert [fits(pool, tokens, choices) for tokens, choices in ((96, 1), (97, 1), (64, 2), (65, 2))] == [
        True,
        False,
        True,
        False,
    ]


# --- any order of events ---


@dataclass(frozen=True)
class Life:
    """A sequence of the property test: when it comes, how long it is, and when it is removed, if it is."""

    begins: int
    prompt: int
    output: int
    removed: int | None


@dataclass(frozen=True)
class Story:
    num_blocks: int
    max_sequences: int
    max_step_tokens: int
    lives: tuple[Life, ...]


@st.composite
def stories(draw: st.DrawFn) -> Story:
    num_blocks = draw(st.integers(4, 12))
    room = (num_blocks - 1) * BLOCK_SIZE  # the engine's context: a request alone always fits
    max_sequences = draw(st.integers(1, 8))
    lives = []
    for _ in range(draw(st.integers(1, 8))):
        prompt = draw(st.one_of(st.integers(1, 4), st.integers(1, room - 1)))
        output = draw(st.integers(1, min(80, room - prompt)))
        begins = draw(st.integers(0, 40))
        removed = draw(st.none() | st.integers(begins, begins + 60))
        lives.append(Life(begins, prompt, output, removed))
    max_step_tokens = max_sequences + draw(st.integers(16, 70))
    return Story(num_blocks, max_sequences, max_step_tokens, tuple(lives))


@settings(deadline=None, max_examples=300)
@given(stories())
def test_every_sequence_ends_and_every_step_keeps_the_rules(story: Story) -> None:
    scheduler = make_scheduler(story.num_blocks, story.max_sequences, story.max_step_tokens)
    sequences = [make_sequence(i, life.prompt, life.output) for i, life in enumerate(story.lives)]
    drawn: list[list[int]] = [[] for _ in sequences]
    at_step = 0
    while at_step < 101 or not scheduler.idle:
        assert at_step < 3000, "it goes on and on"
        for sequence, life in zip(sequences, story.lives, strict=True):
            if life.begins == at_step:
                scheduler.add(sequence)
            if life.removed == at_step:
                scheduler.remove(sequence)
        had_work = not scheduler.idle
        before = list(scheduler.running)
        batch = scheduler.schedule()
        assert bool(batch.spans) == had_work
        check_order(scheduler, before)
        check_blocks(scheduler)
        check_spans(batch, story.max_step_tokens)
        tokens = list(range(at_step * 100, at_step * 100 + len(batch.sampled)))
        for sequence, token in zip(batch.sampled, tokens, strict=True):
            drawn[sequence.arrival].append(token)
        scheduler.update(batch, tokens)
        at_step += 1

    assert scheduler.pool.num_free == story.num_blocks
    assert [sequence.output for sequence in sequences] == drawn  # nothing drawn twice, nothing lost
    for sequence, life in zip(sequences, story.lives, strict=True):
        if life.removed is None:
            assert (len(sequence.output), sequence.finish_reason) == (life.output, FinishReason.LENGTH)


def check_order(scheduler: Scheduler, before: list[Sequence]) -> None:
    """Only the youngest give way."""
    arrivals = [sequence.arrival for sequence in scheduler.running]
    assert arrivals == sorted(arrivals)
    assert len(arrivals) <= scheduler.max_sequences
    assert not arrivals or arrivals[0] <= min((sequence.arrival for sequence in before), default=arrivals[0])
    preempted = [sequence.arrival for sequence in before if sequence not in scheduler.running]
    assert all(arrival > max(arrivals) for arrival in preempted)


def check_blocks(scheduler: Scheduler) -> None:
    owned = list(chain.from_iterable(sequence.blocks for sequence in scheduler.running))
    assert len(set(owned)) == len(owned) == scheduler.pool.num_blocks - scheduler.pool.num_free
    assert all(0 <= block < scheduler.pool.num_blocks for block in owned)
    assert not any(sequence.blocks or sequence.num_computed for sequence in scheduler.waiting)


def check_spans(batch: Batch, max_step_tokens: int) -> None:
    assert sum(span.count for span in batch.spans) <= max_step_tokens
    assert len({id(span.sequence) for span in batch.spans}) == len(batch.spans)
    for span in batch.spans:
        sequence, end = span.sequence, span.start + span.count
        assert span.start == sequence.num_computed
        assert blocks_for(end) <= len(sequence.blocks)
        assert span.samples == (end == sequence.num_tokens)
        assert len(sequence.tokens(span.start, span.count)) == span.count
        if span.is_prompt:
            assert end <= len(sequence.prompt)
            assert span.count > 1 or len(sequence.prompt) == 1
