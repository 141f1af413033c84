"""How long a newcomer would wait: the batch played forward, with plain numbers."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from crossette.engine import Speeds, WaitEstimate
from crossette.engines.wait import QueuedSequence, estimate_wait

SPEEDS = Speeds(prompt_tokens_per_s=100, answer_tokens_per_s=10)
"""A token of a prompt takes 10 ms, and one of an answer 100."""

NEWCOMER = QueuedSequence(0, 0)


def estimate(
    running: list[QueuedSequence],
    waiting: list[QueuedSequence],
    newcomer: QueuedSequence = NEWCOMER,
    places: int = 2,
    blocks: int = 1000,
    speeds: Speeds = SPEEDS,
) -> WaitEstimate:
    return estimate_wait(running, waiting, newcomer=newcomer, places=places, blocks=blocks, speeds=speeds)


def seconds(
    running: list[QueuedSequence], waiting: list[QueuedSequence], newcomer: QueuedSequence = NEWCOMER, **room: Any
) -> float:
    told = estimate(running, waiting, newcomer, **room)
    assert not told.has_slot
    return round(told.seconds, 6)


def test_who_finds_a_place_waits_for_none() -> None:
    assert estimate([], []) == WaitEstimate(0, has_slot=True)
    assert estimate([QueuedSequence(10_000, 10_000)], []) == WaitEstimate(0, has_slot=True)
    assert estimate([], [QueuedSequence(10_000, 10_000)]) == WaitEstimate(1, has_slot=True)


def test_a_full_batch_has_a_place_when_the_first_answer_ends() -> None:
    assert estimate([QueuedSequence(0, 50), QueuedSequence(0, 30)], []) == WaitEstimate(
        0, has_slot=False, seconds=3.0, slot_s=3.0
    )


def test_those_who_wait_are_let_in_before() -> None:
    assert seconds([QueuedSequence(0, 50), QueuedSequence(0, 30)], [QueuedSequence(0, 40)]) == 5
    assert seconds([QueuedSequence(0, 50), QueuedSequence(0, 30)], [QueuedSequence(0, 40), QueuedSequence(0, 40)]) == 7
    assert (
        seconds([], [QueuedSequence(0, 50), QueuedSequence(0, 30), QueuedSequence(0, 40)]) == 5
    )  # those who have just come wait too


def test_places_become_free_as_often_as_answers_end() -> None:
    told = estimate([QueuedSequence(0, 20)] * 2, [QueuedSequence(0, 20)] * 5)

    assert (told.seconds, told.slot_s) == (6.0, 1.0)


def test_prompts_are_computed_one_after_the_other_and_those_ahead_first() -> None:
    assert (
        seconds([QueuedSequence(400, 10), QueuedSequence(0, 10)], []) == 4
    )  # a place after one second, and the prompt ahead
    assert seconds([QueuedSequence(400, 10), QueuedSequence(600, 10)], []) == 10
    assert seconds([QueuedSequence(0, 10), QueuedSequence(0, 10)], [QueuedSequence(100, 10)], places=1) == 3


def test_who_has_no_blocks_waits_until_others_have_given_enough_back() -> None:
    running = [QueuedSequence(0, 10, blocks=3), QueuedSequence(0, 20, blocks=6)]

    assert estimate(
        running, [], QueuedSequence(0, 0, blocks=2), places=8, blocks=4
    ).has_slot  # one is left for each that runs
    assert seconds(running, [], QueuedSequence(0, 0, blocks=3), places=8, blocks=4) == 1
    assert seconds(running, [], QueuedSequence(0, 0, blocks=8), places=8, blocks=4) == 2
    assert seconds(running, [QueuedSequence(0, 5, blocks=8)], QueuedSequence(0, 0, blocks=6), places=8, blocks=4) == 2.5


def test_a_newcomer_that_needs_all_blocks_is_let_in_when_nobody_runs() -> None:
    assert seconds([QueuedSequence(0, 10, blocks=9)], [], QueuedSequence(0, 0, blocks=10), blocks=1) == 1
    assert estimate([], [], QueuedSequence(0, 0, blocks=10), blocks=9).has_slot


def test_a_higher_priority_is_let_in_first() -> None:
    waiting = [QueuedSequence(0, 40), QueuedSequence(0, 40), QueuedSequence(0, 40, priority=1)]

    assert seconds([QueuedSequence(0, 10), QueuedSequence(0, 30)], waiting, QueuedSequence(0, 0, priority=1)) == 3
    assert seconds([QueuedSequence(0, 10), QueuedSequence(0, 30)], waiting, QueuedSequence(0, 0, priority=2)) == 1
    assert seconds([QueuedSequence(0, 10), QueuedSequence(0, 30)], waiting, QueuedSequence(0, 0, priority=-1)) == 7


def test_a_tenant_with_nothing_running_does_not_wait_for_all_of_another() -> None:
    waiting = [QueuedSequence(0, 40, tenant="crowd")] * 50
    running = [QueuedSequence(0, 10, tenant="crowd"), QueuedSequence(0, 30, tenant="crowd")]

    assert seconds(running, waiting, QueuedSequence(0, 0, tenant="single")) == 1
    assert seconds(running, waiting, QueuedSequence(0, 0, tenant="crowd")) > 100


def test_what_was_never_measured_takes_no_time() -> None:
    waiting = [QueuedSequence(1000, 1000)] * 400

    assert seconds([QueuedSequence(500, 50)] * 2, waiting, speeds=Speeds()) == 0
    assert seconds([QueuedSequence(500, 50)] * 2, [], speeds=Speeds(prompt_tokens_per_s=100)) == 10
    assert seconds([QueuedSequence(500, 50)] * 2, [], speeds=Speeds(answer_tokens_per_s=10)) == 5


turns = st.builds(
    QueuedSequence,
    st.integers(0, 500),
    st.integers(0, 500),
    st.integers(0, 20),
    st.sampled_from("ab"),
    st.integers(-1, 1),
)


@given(st.lists(turns, max_size=8), st.lists(turns, max_size=30), turns, st.integers(1, 8), st.integers(0, 100))
def test_only_a_place_is_no_wait_and_no_wait_is_longer_than_all_the_work(
    running: list[QueuedSequence], waiting: list[QueuedSequence], newcomer: QueuedSequence, places: int, blocks: int
) -> None:
    running = running[:places]
    told = estimate(running, waiting, newcomer, places=places, blocks=blocks)
    work = sum(turn.prompt_tokens / 100 + turn.output_tokens / 10 for turn in (*running, *waiting))
    num_ahead = len(running) + len(waiting)

    assert 0 <= told.seconds <= work + 1e-6
    if num_ahead < places and sum(turn.blocks for turn in (*waiting, newcomer)) + num_ahead <= blocks:
        assert told.has_slot
