"""Wait estimates by simulation of the batch."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from crossette.engine import Speeds, WaitEstimate
from crossette.engines.wait import QueuedSequence, estimate_wait

SPEEDS = Speeds(prompt_tokens_per_s=100, answer_tokens_per_s=10)
"""A prompt token takes 10 ms, an output token 100 ms."""

NEW_REQUEST = QueuedSequence(0, 0)


def estimate(
    running: list[QueuedSequence],
    waiting: list[QueuedSequence],
    new_request: QueuedSequence = NEW_REQUEST,
    slots: int = 2,
    blocks: int = 1000,
    speeds: Speeds = SPEEDS,
) -> WaitEstimate:
    return estimate_wait(running, waiting, new_request=new_request, slots=slots, blocks=blocks, speeds=speeds)


def seconds(
    running: list[QueuedSequence], waiting: list[QueuedSequence], new_request: QueuedSequence = NEW_REQUEST, **room: Any
) -> float:
    wait = estimate(running, waiting, new_request, **room)
    assert not wait.has_slot
    return round(wait.seconds, 6)


def test_with_a_free_slot_there_is_no_wait() -> None:
    assert estimate([], []) == WaitEstimate(0, has_slot=True)
    assert estimate([QueuedSequence(10_000, 10_000)], []) == WaitEstimate(0, has_slot=True)
    assert estimate([], [QueuedSequence(10_000, 10_000)]) == WaitEstimate(1, has_slot=True)


def test_a_full_batch_has_a_slot_when_the_first_sequence_ends() -> None:
    assert estimate([QueuedSequence(0, 50), QueuedSequence(0, 30)], []) == WaitEstimate(
        0, has_slot=False, seconds=3.0, slot_s=3.0
    )


def test_waiting_sequences_are_admitted_before() -> None:
    assert seconds([QueuedSequence(0, 50), QueuedSequence(0, 30)], [QueuedSequence(0, 40)]) == 5
    assert seconds([QueuedSequence(0, 50), QueuedSequence(0, 30)], [QueuedSequence(0, 40), QueuedSequence(0, 40)]) == 7
    assert (
        seconds([], [QueuedSequence(0, 50), QueuedSequence(0, 30), QueuedSequence(0, 40)]) == 5
    )  # sequences not admitted yet wait too


def test_slots_become_free_as_often_as_sequences_end() -> None:
    wait = estimate([QueuedSequence(0, 20)] * 2, [QueuedSequence(0, 20)] * 5)

    assert (wait.seconds, wait.slot_s) == (6.0, 1.0)


def test_prompts_are_computed_one_after_the_other_in_order() -> None:
    assert (
        seconds([QueuedSequence(400, 10), QueuedSequence(0, 10)], []) == 4
    )  # a slot after one second, then the prompt ahead
    assert seconds([QueuedSequence(400, 10), QueuedSequence(600, 10)], []) == 10
    assert seconds([QueuedSequence(0, 10), QueuedSequence(0, 10)], [QueuedSequence(100, 10)], slots=1) == 3


def test_a_request_waits_until_enough_blocks_are_free() -> None:
    running = [QueuedSequence(0, 10, blocks=3), QueuedSequence(0, 20, blocks=6)]

    assert estimate(
        running, [], QueuedSequence(0, 0, blocks=2), slots=8, blocks=4
    ).has_slot  # one is left for each running sequence
    assert seconds(running, [], QueuedSequence(0, 0, blocks=3), slots=8, blocks=4) == 1
    assert seconds(running, [], QueuedSequence(0, 0, blocks=8), slots=8, blocks=4) == 2
    assert seconds(running, [QueuedSequence(0, 5, blocks=8)], QueuedSequence(0, 0, blocks=6), slots=8, blocks=4) == 2.5


def test_a_request_that_needs_all_blocks_is_admitted_when_nothing_runs() -> None:
    assert seconds([QueuedSequence(0, 10, blocks=9)], [], QueuedSequence(0, 0, blocks=10), blocks=1) == 1
    assert estimate([], [], QueuedSequence(0, 0, blocks=10), blocks=9).has_slot


def test_a_higher_priority_is_admitted_first() -> None:
    waiting = [QueuedSequence(0, 40), QueuedSequence(0, 40), QueuedSequence(0, 40, priority=1)]

    assert seconds([QueuedSequence(0, 10), QueuedSequence(0, 30)], waiting, QueuedSequence(0, 0, priority=1)) == 3
    assert seconds([QueuedSequence(0, 10), QueuedSequence(0, 30)], waiting, QueuedSequence(0, 0, priority=2)) == 1
    assert seconds([QueuedSequence(0, 10), QueuedSequence(0, 30)], waiting, QueuedSequence(0, 0, priority=-1)) == 7


def test_a_tenant_without_running_sequences_does_not_wait_for_all_of_another() -> None:
    waiting = [QueuedSequence(0, 40, tenant="crowd")] * 50
    running = [QueuedSequence(0, 10, tenant="crowd"), QueuedSequence(0, 30, tenant="crowd")]

    assert seconds(running, waiting, QueuedSequence(0, 0, tenant="single")) == 1
    assert seconds(running, waiting, QueuedSequence(0, 0, tenant="crowd")) > 100


def test_unmeasured_rates_take_no_time() -> None:
    waiting = [QueuedSequence(1000, 1000)] * 400

    assert seconds([QueuedSequence(500, 50)] * 2, waiting, speeds=Speeds()) == 0
    assert seconds([QueuedSequence(500, 50)] * 2, [], speeds=Speeds(prompt_tokens_per_s=100)) == 10
    assert seconds([QueuedSequence(500, 50)] * 2, [], speeds=Speeds(answer_tokens_per_s=10)) == 5


sequence = st.builds(
    QueuedSequence,
    st.integers(0, 500),
    st.integers(0, 500),
    st.integers(0, 20),
    st.sampled_from("ab"),
    st.integers(-1, 1),
)


@given(
    st.lists(sequence, max_size=8), st.lists(sequence, max_size=30), sequence, st.integers(1, 8), st.integers(0, 100)
)
def test_a_free_slot_means_no_wait_and_no_wait_exceeds_all_work(
    running: list[QueuedSequence], waiting: list[QueuedSequence], new_request: QueuedSequence, slots: int, blocks: int
) -> None:
    running = running[:slots]
    wait = estimate(running, waiting, new_request, slots=slots, blocks=blocks)
    work = sum(one.prompt_tokens / 100 + one.output_tokens / 10 for one in (*running, *waiting))
    num_ahead = len(running) + len(waiting)

    assert 0 <= wait.seconds <= work + 1e-6
    if num_ahead < slots and sum(one.blocks for one in (*waiting, new_request)) + num_ahead <= blocks:
        assert wait.has_slot
