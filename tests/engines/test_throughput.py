"""What is learned from steps and from answers: how fast an engine usually is, and how long they are."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossette.engine import Speeds
from crossette.engines.median import Median
from crossette.engines.throughput import AnswerLengths, Throughput


def prompts(throughput: Throughput, tokens: int, seconds: float, *, is_full: bool = True, times: int = 1) -> None:
    for _ in range(times):
        throughput.observe(prompt_tokens=tokens, output_tokens=0, num_answers=0, seconds=seconds, is_full=is_full)


def answers(throughput: Throughput, num: int, seconds: float, *, tokens: int = 1, times: int = 1) -> None:
    """Steps in which so many answers grow, each by so many tokens."""
    for _ in range(times):
        throughput.observe(prompt_tokens=0, output_tokens=num * tokens, num_answers=num, seconds=seconds, is_full=False)


def lengths_of(recent: Sequence[int]) -> AnswerLengths:
    lengths = AnswerLengths()
    for length in recent:
        lengths.add(length)
    return lengths


# --- speeds ---


def test_nothing_is_known_at_first() -> None:
    assert Throughput().speeds == Speeds()


def test_a_step_teaches_only_of_what_was_in_it() -> None:
    throughput = Throughput()
    prompts(throughput, 100, 0.5)
    answers(throughput, 8, 0.1)

    assert throughput.speeds == Speeds(prompt_tokens_per_s=200, answer_tokens_per_s=10)


def test_an_answer_that_gets_several_tokens_in_a_step_is_faster() -> None:
    throughput = Throughput()
    answers(throughput, 2, 0.1, tokens=3)

    assert throughput.speeds.answer_tokens_per_s == pytest.approx(30)


@pytest.mark.parametrize("seconds", [0.0, 11.0, 1000.0])
def test_a_slow_moment_spoils_nothing(seconds: float) -> None:
    throughput = Throughput()
    prompts(throughput, 100, 0.5, times=40)
    answers(throughput, 8, 0.1, times=40)
    before = throughput.speeds

    prompts(throughput, 100, seconds, times=10)
    answers(throughput, 8, seconds, times=10)

    assert throughput.speeds == before


def test_the_last_tokens_of_a_prompt_say_nothing_of_how_fast_prompts_are() -> None:
    """A step takes as long for them as for many: prompts that are mostly cached would seem slow."""
    throughput = Throughput()
    prompts(throughput, 200, 0.5)
    prompts(throughput, 3, 0.1, is_full=False, times=100)

    assert throughput.speeds.prompt_tokens_per_s == 400


def test_a_new_speed_is_learned_when_most_steps_have_it() -> None:
    throughput = Throughput()
    answers(throughput, 1, 0.1, times=200)
    answers(throughput, 64, 0.2, times=31)
    assert throughput.speeds.answer_tokens_per_s == 10

    answers(throughput, 64, 0.2)

    assert throughput.speeds.answer_tokens_per_s == 5


@given(st.lists(st.floats(0.01, 1e3), min_size=9, max_size=30), st.lists(st.floats(0, 1e9), max_size=4))
def test_fewer_than_half_move_a_median_nowhere_that_others_were_not(usual: list[float], odd: list[float]) -> None:
    median = Median(9)
    for value in (*usual, *odd):
        median.add(value)

    assert min(usual[-9:]) <= median.value <= max(usual[-9:])


# --- lengths ---


def test_the_mean_length_is_that_of_the_last_answers() -> None:
    assert lengths_of([1000] * 10 + [100, 200] * 32).mean == 150


def test_one_long_answer_makes_the_others_hardly_longer() -> None:
    assert lengths_of([70] * 63 + [4000]).mean < 140


def test_nothing_is_expected_of_a_first_answer() -> None:
    assert AnswerLengths().left(0, most=1000, number=3) == 0


def test_an_answer_is_taken_to_become_as_long_as_one_of_the_last_that_are_longer() -> None:
    lengths = lengths_of([10, 20, 30, 40])

    assert {lengths.left(0, 1000, number) for number in range(20)} == {10, 20, 30, 40}
    assert {lengths.left(25, 1000, number) for number in range(20)} == {5, 15}


def test_many_answers_are_together_as_long_as_the_last_ones_were() -> None:
    recent = [7 * number % 64 + 1 for number in range(64)]
    taken = [lengths_of(recent).left(0, 1000, number) for number in range(640)]

    assert sum(taken) / len(taken) == pytest.approx(sum(recent) / len(recent), rel=0.02)


def test_an_answer_that_outlives_the_last_ones_may_live_as_long_again() -> None:
    assert lengths_of([10, 20]).left(50, most=1000, number=0) == 50
    assert lengths_of([10, 20]).left(50, most=60, number=0) == 10


@given(st.lists(st.integers(1, 5000), max_size=80), st.integers(0, 5000), st.integers(0, 5000), st.integers(0, 10**6))
def test_no_answer_is_expected_to_exceed_what_it_may_have(recent: list[int], has: int, more: int, number: int) -> None:
    assert 0 <= lengths_of(recent).left(has, has + more, number) <= more
