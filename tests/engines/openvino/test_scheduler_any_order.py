"""Any order of events, with a simulated cache that remembers what was written."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import chain

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossette.engines.openvino.kv_cache import BLOCK_SIZE, blocks_for
from crossette.engines.openvino.scheduler import Scheduler
from crossette.engines.openvino.sequence import Batch, SampledToken, Sequence, Span
from crossette.types import FinishReason
from support.engine_calls import make_request
from support.schedules import make_scheduler

pytestmark = pytest.mark.slow

MODULUS = 7
"""So few tokens that texts repeat: guesses come, and some are right."""


def next_token(text: tuple[int, ...], index: int) -> int:
    """What the simulated model says after a text: it copies from three back, but for now and then."""
    if len(text) > 3 and sum(text) % 11:
        return text[-3]
    return (sum(text[-5:]) + len(text) + index) % MODULUS


def num_forced(text: tuple[int, ...], room: int) -> int:
    """How many tokens a simulated grammar adds now and then without a look at the model: up to two blocks of them."""
    return min(sum(text) % (2 * BLOCK_SIZE), room) if sum(text) % 4 == 0 else 0


@dataclass(frozen=True)
class Life:
    """A request of the property test: when it comes, what it asks, and when it is removed, if it is."""

    begins: int
    prompt: tuple[int, ...]
    output: int
    n: int
    removed: int | None


@dataclass(frozen=True)
class Story:
    num_blocks: int
    max_sequences: int
    max_step_tokens: int
    max_draft_rows: int
    lives: tuple[Life, ...]


@st.composite
def stories(draw: st.DrawFn) -> Story:
    num_blocks = draw(st.integers(4, 12))
    room = (num_blocks - 1) * BLOCK_SIZE  # the engine's context: a request alone always fits
    max_sequences = draw(st.integers(1, 8))
    lives = []
    for _ in range(draw(st.integers(1, 8))):
        length = draw(st.one_of(st.integers(1, 4), st.integers(1, room - 1)))
        output = draw(st.integers(1, min(80, room - length)))
        begins = draw(st.integers(0, 40))
        removed = draw(st.none() | st.integers(begins, begins + 60))
        salt = draw(st.integers(0, 2))  # prompts of one salt begin alike
        prompt = tuple((place * place + salt) % MODULUS for place in range(length))
        lives.append(Life(begins, prompt, output, draw(st.integers(1, 3)), removed))
    max_step_tokens = max_sequences + draw(st.integers(16, 70))
    return Story(num_blocks, max_sequences, max_step_tokens, draw(st.sampled_from([0, 4, 12])), tuple(lives))


Cell = tuple[tuple[int, ...], str]
"""What a slot of a block holds: the text up to its token, and whether a chunk or a row wrote it."""


class SimulatedCache:
    """Blocks that remember what was written to them, and a model that reads them."""

    def __init__(self) -> None:
        self._cells: dict[tuple[int, int], Cell] = {}

    def run(self, batch: Batch) -> list[SampledToken]:
        for source, target in batch.copies:
            for slot in range(BLOCK_SIZE):
                self._cells[target, slot] = self._cells.get((source, slot), ((), "empty"))
        for span in batch.spans:  # a step writes all before it reads
            text = self._text(span.sequence) + span.drafts
            for place in range(span.start, span.start + span.num_rows):
                self._cells[self._slot(span.sequence, place)] = self._wanted(span.sequence, text, place)
        return [drawn for span in batch.spans for drawn in self._draw(span)]

    def _draw(self, span: Span) -> list[SampledToken]:
        text = self._text(span.sequence) + span.drafts
        for place in range(span.start + span.num_rows):
            assert self._cells[self._slot(span.sequence, place)] == self._wanted(span.sequence, text, place)
        if not span.samples:
            return []
        return [self._says(drawer, span.drafts) for drawer in (span.sequence, *span.forks)]

    def _says(self, sequence: Sequence, drafts: tuple[int, ...]) -> SampledToken:
        text = self._text(sequence)
        said: list[int] = []
        for guess in (*drafts, None):
            said.append(next_token((*text, *said), sequence.index))
            if said[-1] != guess:
                break
        num_drawn = len(said)
        for _ in range(num_forced(text, sequence.max_output - len(sequence.output) - num_drawn)):
            said.append(next_token((*text, *said), sequence.index))
        return SampledToken(sequence, tuple(said), num_drafts=len(drafts), num_forced=len(said) - num_drawn)

    def _text(self, sequence: Sequence) -> tuple[int, ...]:
        return (*sequence.prompt, *sequence.output)

    def _wanted(self, sequence: Sequence, text: tuple[int, ...], place: int) -> Cell:
        is_row = place >= len(sequence.prompt) or len(sequence.prompt) == 1
        return text[: place + 1], "row" if is_row else "chunk"

    def _slot(self, sequence: Sequence, place: int) -> tuple[int, int]:
        return sequence.blocks[place // BLOCK_SIZE], place % BLOCK_SIZE


@settings(deadline=None, max_examples=300)
@given(stories())
def test_every_sequence_says_what_it_says_alone_and_every_step_keeps_the_rules(story: Story) -> None:
    scheduler = make_scheduler(story.num_blocks, story.max_sequences, story.max_step_tokens)
    scheduler.max_draft_rows = story.max_draft_rows
    cache = SimulatedCache()
    lives = [(life, choices_of(life, place)) for place, life in enumerate(story.lives)]
    at_step = 0
    while at_step < 101 or not scheduler.idle:
        assert at_step < 3000, "it goes on and on"
        for life, choices in lives:
            if life.begins == at_step:
                scheduler.add(choices[0])
            if life.removed == at_step:
                for choice in choices:
                    scheduler.remove(choice)
        had_work = not scheduler.idle
        before = list(scheduler.running)
        batch = scheduler.schedule()
        assert bool(batch.spans) == had_work
        check_order(scheduler, before)
        check_blocks(scheduler)
        check_spans(batch, story.max_step_tokens)
        scheduler.update(batch, cache.run(batch))
        at_step += 1

    assert scheduler.pool.num_free == story.num_blocks
    assert not scheduler.cache._promised and not scheduler.cache._writers
    for life, choices in lives:
        for choice in choices:
            alone = said_alone(life, choice.index)
            assert choice.output == alone[: len(choice.output)]
            if life.removed is None:
                assert (choice.output, choice.finish_reason) == (alone, FinishReason.LENGTH)


def choices_of(life: Life, place: int) -> list[Sequence]:
    request = make_request(life.prompt, n=life.n, ignore_eos=False)
    choices = [Sequence(request, i, arrival=place * 10 + i, seed=0, max_output=life.output) for i in range(life.n)]
    choices[0].forks = choices[1:]
    return choices


def said_alone(life: Life, index: int) -> list[int]:
    said: list[int] = []
    while len(said) < life.output:
        said.append(next_token((*life.prompt, *said), index))
    return said


def check_order(scheduler: Scheduler, before: list[Sequence]) -> None:
    """Only the youngest give way."""
    arrivals = [sequence.arrival for sequence in scheduler.running]
    assert arrivals == sorted(arrivals)
    assert len(arrivals) <= scheduler.max_sequences
    preempted = [sequence.arrival for sequence in before if sequence not in scheduler.running]
    # All of them may have: to an elder that was let in just now, and left too few blocks for tokens that were forced.
    youngest_kept = max((sequence.arrival for sequence in before if sequence in scheduler.running), default=-1)
    assert all(arrival > youngest_kept for arrival in preempted)


def check_blocks(scheduler: Scheduler) -> None:
    """No block is lost, and none is shared but full blocks of prompts."""
    owned = Counter(chain.from_iterable(sequence.blocks for sequence in scheduler.running))
    assert len(owned) == scheduler.pool.num_blocks - scheduler.pool.num_free
    assert all(0 <= block < scheduler.pool.num_blocks for block in owned)
    for sequence in scheduler.running:
        own = sequence.blocks[len(sequence.prompt) // BLOCK_SIZE :]
        assert all(owned[block] == 1 for block in own)
    assert not any(sequence.blocks or sequence.num_computed for sequence in scheduler.waiting)


def check_spans(batch: Batch, max_step_tokens: int) -> None:
    assert sum(span.num_rows for span in batch.spans) <= max_step_tokens
    assert len({id(span.sequence) for span in batch.spans}) == len(batch.spans)
    for span in batch.spans:
        sequence, end = span.sequence, span.start + span.count
        assert span.start == sequence.num_computed
        assert blocks_for(end + len(span.drafts)) <= len(sequence.blocks)
        assert span.samples == (end == sequence.num_tokens)
        assert len(sequence.tokens(span.start, span.count)) == span.count
        assert not (span.drafts and span.is_prompt)
        if span.is_prompt:
            assert end <= len(sequence.prompt)
            assert span.count > 1 or len(sequence.prompt) == 1
