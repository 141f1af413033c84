"""The scheduler under random events, with a simulated KV cache that records what was written."""

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
from crossette.engines.openvino.sliding_windows import most_held
from crossette.engines.openvino.states import ZERO
from crossette.types import FinishReason
from support.engine_calls import make_request
from support.schedules import make_scheduler

pytestmark = pytest.mark.slow

MODULUS = 7
"""So few different tokens that outputs repeat: drafts are proposed, and some are accepted."""


def next_token(text: tuple[int, ...], index: int) -> int:
    """The simulated model's next token: usually a copy of the third last one."""
    if len(text) > 3 and sum(text) % 11:
        return text[-3]
    return (sum(text[-5:]) + len(text) + index) % MODULUS


def num_forced(text: tuple[int, ...], room: int) -> int:
    """How many tokens a simulated grammar forces: usually none, at most two blocks."""
    return min(sum(text) % (2 * BLOCK_SIZE), room) if sum(text) % 4 == 0 else 0


@dataclass(frozen=True)
class SimulatedRequest:
    """A request of the property test, with the steps at which it arrives and, if ever, is removed."""

    begins: int
    prompt: tuple[int, ...]
    output: int
    n: int
    removed: int | None
    priority: int = 0
    """Below 0 it is in the background."""

    def conversation(self) -> tuple[int, ...]:
        """What its next turn begins with."""
        return (*self.prompt, *output_alone(self, 0))


@dataclass(frozen=True)
class Scenario:
    num_blocks: int
    max_sequences: int
    max_step_tokens: int
    max_draft_rows: int
    num_state_rows: int
    """Of recurrent layers; 0 without any."""
    window: int
    """Of layers with sliding window attention; 0 without any."""
    num_window_blocks: int
    keeps_output: bool
    """Whether output is computed as prompts are, so that later prompts may reuse its blocks."""
    requests: tuple[SimulatedRequest, ...]


@st.composite
def scenarios(draw: st.DrawFn) -> Scenario:
    num_blocks = draw(st.integers(4, 12))
    room = (num_blocks - 1) * BLOCK_SIZE  # like the engine's context length: a single request always fits
    max_sequences = draw(st.integers(1, 8))
    requests: list[SimulatedRequest] = []
    for _ in range(draw(st.integers(1, 8))):
        length = draw(st.one_of(st.integers(1, 4), st.integers(1, room - 1)))
        salt = draw(st.integers(0, 2))  # prompts of one salt share a prefix
        prompt = tuple((i * i + salt) % MODULUS for i in range(length))
        if draw(st.booleans()) and requests:
            prompt = (*draw(st.sampled_from(requests)).conversation(), *prompt[:3])[: room - 1]
        most = min(80, room - len(prompt))
        to_border = (draw(st.integers(0, 2)) - len(prompt)) % BLOCK_SIZE
        output = min(max(1, to_border), most) if draw(st.booleans()) else draw(st.integers(1, most))
        begins = draw(st.integers(0, 40)) + 40 * draw(st.booleans())
        removed = draw(st.none() | st.integers(begins, begins + 60))
        priority = draw(st.sampled_from([0, -1, -9, 1]))
        requests.append(SimulatedRequest(begins, prompt, output, draw(st.integers(1, 3)), removed, priority))
    max_step_tokens = max_sequences + draw(st.integers(16, 70))
    max_draft_rows = draw(st.sampled_from([0, 4, 12]))
    keeps_output = draw(st.booleans())  # never with states or windows
    num_rows = max_sequences + draw(st.integers(0, 8)) if not keeps_output and draw(st.booleans()) else 0
    window = 0 if keeps_output else draw(st.sampled_from([0, 1, 2, 31, 32, 33, 64, 100]))
    num_window_blocks = min(num_blocks, most_held(window, max_step_tokens)) + 1 + draw(st.integers(0, 8))
    return Scenario(
        num_blocks,
        max_sequences,
        max_step_tokens,
        max_draft_rows,
        num_rows,
        window,
        num_window_blocks,
        keeps_output,
        tuple(requests),
    )


Cell = tuple[tuple[int, ...], str]
"""The content of a slot of a block: the tokens up to its own, and whether it was computed in a chunk or alone."""


class SimulatedCache:
    """Blocks and rows of states that record what was written to them, and a simulated model that reads them."""

    def __init__(self, window: int, *, is_exact: bool = False) -> None:
        self._cells: dict[tuple[int, int], Cell] = {}
        self._window_cells: dict[tuple[int, int], Cell] = {}
        self._window = window
        self._is_exact = is_exact
        self._states: dict[int, tuple[int, ...]] = {ZERO: ()}
        """The text that each row stands for."""

    def run(self, batch: Batch) -> list[SampledToken]:
        for cells, copies in ((self._cells, batch.copies), (self._window_cells, batch.window_copies)):
            for source, target in copies:
                for slot in range(BLOCK_SIZE):
                    cells[target, slot] = cells.get((source, slot), ((), "empty"))
        for source, target in batch.row_copies:
            self._states[target] = self._states[source]
        for span in batch.spans:
            self._recur(span)
        for span in batch.spans:  # a step writes everything before it reads
            text = self._text(span.sequence) + span.drafts
            for position in range(span.start, span.start + span.num_tokens):
                self._cells[self._slot(span.sequence, position)] = self._expected(span.sequence, text, position)
                if self._window:
                    in_window = self._window_slot(span.sequence, position)
                    self._window_cells[in_window] = self._expected(span.sequence, text, position)
        return [sampled for span in batch.spans for sampled in self._sample(span)]

    def _recur(self, span: Span) -> None:
        text = self._text(span.sequence) + span.drafts
        for row in span.sequence.rows[:1]:
            assert self._states[row] == text[: span.start]
        for num_drafts, row in enumerate(span.sequence.rows):
            self._states[row] = text[: span.start + span.count + num_drafts]

    def _sample(self, span: Span) -> list[SampledToken]:
        text = self._text(span.sequence) + span.drafts
        for position in range(span.start + span.num_tokens):
            assert self._cells[self._slot(span.sequence, position)] == self._expected(span.sequence, text, position)
        if self._window:
            for position in range(max(0, span.start - self._window + 1), span.start + span.num_tokens):
                slot = self._window_slot(span.sequence, position)
                assert self._window_cells[slot] == self._expected(span.sequence, text, position)
        if not span.samples:
            return []
        return [self._next_tokens(sequence, span.drafts) for sequence in (span.sequence, *span.forks)]

    def _next_tokens(self, sequence: Sequence, drafts: tuple[int, ...]) -> SampledToken:
        text = self._text(sequence)
        tokens: list[int] = []
        for draft in (*drafts, None):
            tokens.append(next_token((*text, *tokens), sequence.index))
            if tokens[-1] != draft:
                break
        num_sampled = len(tokens)
        for _ in range(num_forced(text, sequence.max_output - len(sequence.output) - num_sampled)):
            tokens.append(next_token((*text, *tokens), sequence.index))
        return SampledToken(sequence, tuple(tokens), num_drafts=len(drafts), num_forced=len(tokens) - num_sampled)

    def _text(self, sequence: Sequence) -> tuple[int, ...]:
        return (*sequence.prompt, *sequence.output)

    def _expected(self, sequence: Sequence, text: tuple[int, ...], position: int) -> Cell:
        is_single = not self._is_exact and (position >= len(sequence.prompt) or len(sequence.prompt) == 1)
        return text[: position + 1], "single" if is_single else "chunk"

    def _slot(self, sequence: Sequence, position: int) -> tuple[int, int]:
        return sequence.blocks[position // BLOCK_SIZE], position % BLOCK_SIZE

    def _window_slot(self, sequence: Sequence, position: int) -> tuple[int, int]:
        index = position // BLOCK_SIZE - sequence.window_start
        assert index >= 0
        return sequence.window_blocks[index], position % BLOCK_SIZE


@settings(deadline=None, max_examples=300)
@given(scenarios())
def test_every_output_is_as_alone_and_every_step_obeys_the_rules(scenario: Scenario) -> None:
    scheduler = make_scheduler(
        scenario.num_blocks,
        scenario.max_sequences,
        scenario.max_step_tokens,
        scenario.num_state_rows,
        scenario.window,
        scenario.num_window_blocks,
        keeps_output=scenario.keeps_output,
    )
    scheduler.max_draft_rows = scenario.max_draft_rows
    cache = SimulatedCache(scenario.window, is_exact=scenario.keeps_output)
    requests = [(request, choices_of(request, number)) for number, request in enumerate(scenario.requests)]
    at_step = 0
    while at_step < 101 or not scheduler.idle:
        assert at_step < 3000, "the scheduler does not finish"
        for request, choices in requests:
            if request.begins == at_step:
                scheduler.add(choices[0])
            if request.removed == at_step:
                for choice in choices:
                    scheduler.remove(choice)
        had_work = not scheduler.idle
        before = list(scheduler.running)
        batch = scheduler.schedule()
        assert bool(batch.spans) == had_work
        check_order(scheduler, before)
        check_blocks(scheduler, keeps_output=scenario.keeps_output)
        check_windows(scheduler)
        check_rows(scheduler)
        check_spans(batch, scenario.max_step_tokens)
        scheduler.update(batch, cache.run(batch))
        at_step += 1

    assert scheduler.caches.pool.num_free == scenario.num_blocks
    assert not scheduler.caches.prefixes._promised and not scheduler.caches.prefixes._writers
    if windows := scheduler.caches.windows:
        assert windows.num_free == windows.pool.num_free == scenario.num_window_blocks
    if states := scheduler.caches.states:
        assert (states.num_free, states._claims) == (scenario.num_state_rows, {})
    for request, choices in requests:
        for choice in choices:
            alone = output_alone(request, choice.index)
            assert choice.output == alone[: len(choice.output)]
            if request.removed is None:
                assert (choice.output, choice.finish_reason) == (alone, FinishReason.LENGTH)


def choices_of(simulated: SimulatedRequest, number: int) -> list[Sequence]:
    request = make_request(simulated.prompt, n=simulated.n, ignore_eos=False, priority=simulated.priority)
    choices = [
        Sequence(request, i, arrival=number * 10 + i, seed=0, max_output=simulated.output) for i in range(simulated.n)
    ]
    choices[0].forks = choices[1:]
    return choices


def output_alone(request: SimulatedRequest, index: int) -> list[int]:
    output: list[int] = []
    while len(output) < request.output:
        output.append(next_token((*request.prompt, *output), index))
    return output


def check_order(scheduler: Scheduler, before: list[Sequence]) -> None:
    """Only the last sequences are preempted: those of the lowest priority, the youngest first."""
    ranks = [rank(sequence) for sequence in scheduler.running]
    assert ranks == sorted(ranks)
    assert len(ranks) <= scheduler.max_sequences
    preempted = [rank(sequence) for sequence in before if sequence not in scheduler.running]
    # Possibly all: a sequence before them that was just admitted may leave too few blocks for forced tokens.
    last_kept = max((rank(sequence) for sequence in before if sequence in scheduler.running), default=(-9, -1))
    assert all(one > last_kept for one in preempted)


def rank(sequence: Sequence) -> tuple[int, int]:
    return -sequence.request.priority, sequence.arrival


def check_blocks(scheduler: Scheduler, *, keeps_output: bool) -> None:
    """No block is leaked, and only full blocks are shared: of prompts, or of all text."""
    owned = Counter(chain.from_iterable(sequence.blocks for sequence in scheduler.running))
    assert len(owned) == scheduler.caches.pool.num_blocks - scheduler.caches.pool.num_free
    assert all(0 <= block < scheduler.caches.pool.num_blocks for block in owned)
    for sequence in scheduler.running:
        num_full = max(len(sequence.prompt), sequence.num_computed if keeps_output else 0) // BLOCK_SIZE
        own = sequence.blocks[num_full:]
        assert all(owned[block] == 1 for block in own)
    assert not any(sequence.blocks or sequence.num_computed for sequence in scheduler.waiting)


def check_windows(scheduler: Scheduler) -> None:
    """No block of a window is leaked, and a sequence holds no more than its window and a chunk need."""
    windows = scheduler.caches.windows
    owned = Counter(chain.from_iterable(sequence.window_blocks for sequence in scheduler.running))
    if windows is None:
        assert not owned
        return
    assert len(owned) == windows.pool.num_blocks - windows.pool.num_free
    assert sum(owned.values()) == windows.pool.num_blocks - windows.num_free
    for sequence in scheduler.running:
        # Tokens that a grammar forces are known before they are computed.
        num_forced = 0 if sequence.in_prompt else sequence.num_pending
        most = most_held(windows.window, scheduler.max_step_tokens + num_forced)
        assert len(sequence.window_blocks) <= most
        own = sequence.window_blocks[max(0, len(sequence.prompt) // BLOCK_SIZE - sequence.window_start) :]
        assert all(owned[block] == 1 for block in own)
    assert not any(sequence.window_blocks for sequence in scheduler.waiting)


def check_rows(scheduler: Scheduler) -> None:
    """No row of states is leaked or shared, and each running sequence has one."""
    states = scheduler.caches.states
    owned = [row for sequence in scheduler.running for row in sequence.rows]
    if states is None:
        assert not owned
        return
    assert len(owned) == len(set(owned)) == states.num_rows - states.num_free
    assert not set(owned) & set(states._snapshots.values())
    assert all(sequence.rows for sequence in scheduler.running)
    assert not any(sequence.rows for sequence in scheduler.waiting)


def check_spans(batch: Batch, max_step_tokens: int) -> None:
    assert sum(span.num_tokens for span in batch.spans) <= max_step_tokens
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
