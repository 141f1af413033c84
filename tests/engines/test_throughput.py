"""Recent throughput and output lengths."""

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
    """Observe steps in which `num` sequences get `tokens` tokens each."""
    for _ in range(times):
        throughput.observe(prompt_tokens=0, output_tokens=num * tokens, num_answers=num, seconds=seconds, is_full=False)


def lengths_of(recent: Sequence[int]) -> AnswerLengths:
    lengths = AnswerLengths()
    for length in recent:
        lengths.add(length)
    return lengths


# --- speeds ---


def test_rates_are_zero_before_any_step() -> None:
    assert Throughput().speeds == Speeds()


def test_a_step_updates_only_the_rates_of_its_tokens() -> None:
    throughput = Throughput()
    prompts(throughput, 100, 0.5)
    answers(throughput, 8, 0.1)

    assert throughput.speeds == Speeds(prompt_tokens_per_s=200, answer_tokens_per_s=10)


def test_several_tokens_per_step_increase_the_decode_rate() -> None:
    throughput = Throughput()
    answers(throughput, 2, 0.1, tokens=3)

    assert throughput.speeds.answer_tokens_per_s == pytest.approx(30)


@pytest.mark.parametrize("seconds", [0.0, 11.0, 1000.0])
def test_a_few_slow_steps_change_nothing(seconds: float) -> None:
    throughput = Throughput()
    prompts(throughput, 100, 0.5, times=40)
    answers(throughput, 8, 0.1, times=40)
    before = throughput.speeds

    prompts(throughput, 100, seconds, times=10)
    answers(throughput, 8, seconds, times=10)

    assert throughput.speeds == before


def test_steps_that_are_not_full_do_not_update_the_prefill_rate() -> None:
    """A step takes as long for few tokens as for many: mostly cached prompts would seem slow."""
    throughput = Throughput()
    prompts(throughput, 200, 0.5)
    prompts(throughput, 3, 0.1, is_full=False, times=100)

    assert throughput.speeds.prompt_tokens_per_s == 400


def test_a_new_rate_is_adopted_when_most_steps_have_it() -> None:
    throughput = Throughput()
    answers(throughput, 1, 0.1, times=200)
    answers(throughput, 64, 0.2, times=31)
    assert throughput.speeds.answer_tokens_per_s == 10

    answers(throughput, 64, 0.2)

    assert throughput.speeds.answer_tokens_per_s == 5


@given(st.lists(st.floats(0.01, 1e3), min_size=9, max_size=30), st.lists(st.floats(0, 1e9), max_size=4))
def test_a_minority_of_outliers_keeps_the_median_within_the_usual_values(usual: list[float], odd: list[float]) -> None:
    median = Median(9)
    for value in (*usual, *odd):
        median.add(value)

    assert min(usual[-9:]) <= median.value <= max(usual[-9:])


# --- lengths ---


def test_the_mean_length_is_that_of_recent_outputs() -> None:
    assert lengths_of([1000] * 10 + [100, 200] * 32).mean == 150


def test_one_long_output_hardly_changes_the_mean() -> None:
    assert lengths_of([70] * 63 + [4000]).mean < 140


def test_without_recent_outputs_nothing_is_expected() -> None:
    assert AnswerLengths().left(0, most=1000, number=3) == 0


def test_the_expected_length_is_sampled_from_longer_recent_outputs() -> None:
    lengths = lengths_of([10, 20, 30, 40])

    assert {lengths.left(0, 1000, number) for number in range(20)} == {10, 20, 30, 40}
    assert {lengths.left(25, 1000, number) for number in range(20)} == {5, 15}


def test_expected_lengths_reproduce_the_recent_mean() -> None:
    recent = [7 * number % 64 + 1 for number in range(64)]
    expected = [lengths_of(recent).left(0, 1000, number) for number in range(640)]

    assert sum(expected) / len(expected) == pytest.approx(sum(recent) / len(recent), rel=0.02)


def test_an_output_longer_than_all_recent_ones_is_expected_to_double() -> None:
    assert lengths_of([10, 20]).left(50, most=1000, number=0) == 50
    assert lengths_of([10, 20]).left(50, most=60, number=0) == 10


@given(st.lists(st.integers(1, 5000), max_size=80), st.integers(0, 5000), st.integers(0, 5000), st.integers(0, 10**6))
def test_no_output_is_expected_to_exceed_its_limit(recent: list[int], has: int, more: int, number: int) -> None:
    assert 0 <= lengths_of(recent).left(has, has + more, number) <= more
