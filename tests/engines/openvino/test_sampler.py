"""From a row of logits to a token, against a slow and obvious sampler."""

from __future__ import annotations

from itertools import accumulate
from math import exp, log, log2
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossette.engines.openvino.logits import LogitsProcessor, Row
from crossette.engines.openvino.sampler import TokenSampler, pick, uniform
from crossette.engines.openvino.top_k import largest
from crossette.types import SamplingParams


def make_params(temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0, min_p: float = 0.0) -> SamplingParams:
    return SamplingParams(1, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)


def make_sampler(seed: int = 0, **params: Any) -> TokenSampler:
    sampling = SamplingParams(1000, **params)
    return TokenSampler(sampling, seed=seed, prompt=(1, 2, 2), end_token_ids={0})


def draw(logits: Row, params: SamplingParams, number: float) -> int:
    return pick(logits, params, number)[0]


def say(sampler: TokenSampler, logits: Row, count: int) -> list[int]:
    """So many tokens, all from the same logits."""
    said = []
    for _ in range(count):
        said.append(sampler.draw(logits)[0])
        sampler.accept_token(said[-1])
    return said


def make_logits(*values: float) -> Row:
    return np.array(values, np.float32)


def reference(logits: Row, params: SamplingParams, number: float) -> int:
    """Sort everything, keep what the filters keep, walk along the rest."""
    weights = [float(w) for w in np.exp((logits - logits.max()) / np.float32(params.temperature))]
    kept = sorted(range(len(weights)), key=lambda i: (-weights[i], i))
    if params.top_k:
        kept = kept[: params.top_k]
    wanted = params.top_p * sum(weights[i] for i in kept)
    reached = [*accumulate(weights[i] for i in kept)]
    if params.top_p < 1:
        kept = kept[: 1 + sum(total < wanted for total in reached[:-1])]
    if params.min_p:
        kept = [i for i in kept if np.float32(weights[i]) >= np.float32(params.min_p)]
    kept.sort()
    total = sum(weights[i] for i in kept)
    walked = 0.0
    for i in kept:
        walked += weights[i]
        if walked > number * total:
            return i
    return kept[-1]


# Half units make many ties; at most 20 between two logits keeps every sum of weights exact.
tied_logits = st.lists(st.integers(-10, 10).map(lambda x: x / 2), min_size=1, max_size=40).map(
    lambda values: np.array(values, np.float32)
)
any_params = st.builds(
    make_params,
    temperature=st.sampled_from([0.5, 0.7, 1.0, 2.0]),
    top_k=st.integers(0, 45),
    top_p=st.one_of(st.just(1.0), st.floats(0, 1)),
    min_p=st.one_of(st.just(0.0), st.floats(0, 1)),
)
numbers = st.floats(0, 1, exclude_max=True)


@settings(deadline=None, max_examples=500)
@given(tied_logits, any_params, numbers)
def test_filters_and_draw_agree_with_the_obvious_sampler(logits: Row, params: SamplingParams, number: float) -> None:
    assert draw(logits, params, number) == reference(logits, params, number)


@pytest.mark.parametrize("top_p", [0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("top_k", [0, 700])
def test_a_nucleus_of_many_tokens_is_found_whole(top_p: float, top_k: int) -> None:
    """It is searched among the largest 128 first, then among more."""
    rng = np.random.default_rng(0)
    flat = np.round(rng.normal(0, 0.2, 3000), 1).astype(np.float32)  # ties, and a wide nucleus
    params = make_params(top_p=top_p, top_k=top_k)

    for number in (0.0, 0.2, 0.5, 0.77, 0.999999):
        assert draw(flat, params, number) == reference(flat, params, number)


@pytest.mark.parametrize("size", [1, 63, 64, 256, 257, 5000, 49_152])
@pytest.mark.parametrize("count", [1, 2, 5, 40, 128, 700])
def test_the_largest_are_those_of_a_sort_and_of_equals_the_first(size: int, count: int) -> None:
    values = np.round(np.random.default_rng(size + count).normal(0, 3, size), 1).astype(np.float32)  # many ties

    assert largest(values, count).tolist() == sorted(np.argsort(-values, kind="stable")[:count].tolist())


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 2000), st.integers(0, 2**32), numbers)
def test_a_number_selects_where_the_running_sum_passes_it(size: int, seed: int, number: float) -> None:
    """Summed in blocks or one by one: the same token, but for a number at the very edge of two."""
    logits = np.random.default_rng(seed).normal(0, 60, size).astype(np.float32)  # most weights are 0
    weights = np.exp(logits - logits.max()).astype(np.float64)
    ends = np.cumsum(weights) / weights.sum()

    token, probability = pick(logits, make_params(), number)

    assert weights[token] > 0
    assert probability == pytest.approx(weights[token] / weights.sum(), rel=1e-4)
    assert ends[token] >= number - 1e-6
    assert token == 0 or ends[token - 1] <= number + 1e-6


def test_the_largest_number_selects_the_last_token_that_has_any_weight() -> None:
    logits = np.full(1000, -np.inf, np.float32)
    logits[[3, 700]] = 0.0

    assert draw(logits, make_params(), 1 - 2**-53) == 700


def test_tokens_come_as_often_as_softmax_says() -> None:
    logits = make_logits(2.0, 0.0, 1.0, -1.0, 1.0)
    temperature, num_draws = 0.8, 20_000
    params = make_params(temperature=temperature)

    drawn = np.bincount([draw(logits, params, uniform(1, place)) for place in range(num_draws)], minlength=5)

    weights = [exp(float(x) / temperature) for x in logits]
    expected = [weight / sum(weights) for weight in weights]
    assert np.abs(drawn / num_draws - expected).max() < 0.01


def test_numbers_are_uniform_and_depend_on_seed_and_position_only() -> None:
    drawn = [uniform(seed, position) for seed in range(50) for position in range(50)]

    assert drawn == [uniform(seed, position) for seed in range(50) for position in range(50)]
    assert len(set(drawn)) == 2500
    assert all(0 <= number < 1 for number in drawn)
    assert np.abs(np.histogram(drawn, 10, (0, 1))[0] - 250).max() < 70  # four deviations and a half


def test_seeds_are_taken_around_at_64_bits() -> None:
    assert uniform(-1, 3) == uniform(2**64 - 1, 3)
    assert uniform(2**64, 3) == uniform(0, 3)


def test_the_numbers_of_a_seed_are_those_of_every_release() -> None:
    """Changing the generator changes everybody's seeded text: that must be a decision."""
    assert [round(uniform(42, position), 12) for position in range(3)] == [
        0.820198147861,
        0.368128450909,
        0.876797967446,
    ]


@pytest.mark.parametrize("temperature", [1e-6, 1e-30, 1e-45, 1e-300])
def test_a_tiny_temperature_takes_the_likeliest(temperature: float) -> None:
    logits = make_logits(0.5, 3.0, 2.999, -40.0)

    assert {draw(logits, make_params(temperature), number) for number in (0.0, 0.5, 0.999999)} == {1}


def test_temperature_0_takes_the_likeliest_and_of_equals_the_first() -> None:
    assert make_sampler(temperature=0).draw(make_logits(1, 5, 5)) == (1, 0.0)
    assert make_sampler(temperature=0).draw(make_logits(7, 5, 7)) == (0, 0.0)


@pytest.mark.parametrize("params", [make_params(top_k=1), make_params(top_p=0.0), make_params(min_p=1.0)])
def test_the_narrowest_filters_leave_the_likeliest(params: SamplingParams) -> None:
    logits = make_logits(1, 2, 4, 3)

    assert {draw(logits, params, number) for number in (0.0, 0.5, 0.999999)} == {2}


def test_the_next_position_draws_another_number() -> None:
    assert len(set(say(make_sampler(5), np.zeros(1000, np.float32), 20))) > 15


def test_the_same_seed_says_the_same_and_another_does_not() -> None:
    logits = np.random.default_rng(0).normal(0, 1, 500).astype(np.float32)

    said = [say(make_sampler(seed, top_p=0.9), logits, 10) for seed in (3, 3, 4)]

    assert said[0] == said[1] != said[2]


def test_the_logprob_is_that_of_the_filtered_distribution() -> None:
    sampler = make_sampler(top_k=2)

    token, logprob = sampler.draw(make_logits(1.0, 1.0, -3.0))

    assert (token in (0, 1), round(logprob, 12)) == (True, round(log(0.5), 12))


# --- penalties, bias, min_tokens ---


def processed(logits: Row, said: list[int], **params: Any) -> list[float]:
    processor = LogitsProcessor(SamplingParams(1000, **params), prompt=(1, 2, 2), end_token_ids={0})
    for token in said:
        processor.accept_token(token)
    values: list[float] = processor.apply(logits).tolist()
    return values


def test_frequency_counts_and_presence_does_not_and_both_look_at_the_output_only() -> None:
    logits = make_logits(5, 5, 5, 5)

    assert processed(logits, [3, 3, 1], frequency_penalty=0.5) == [5, 4.5, 5, 4]
    assert processed(logits, [3, 3, 1], presence_penalty=0.5) == [5, 4.5, 5, 4.5]


def test_repetition_divides_what_is_positive_and_multiplies_what_is_not_in_prompt_and_output() -> None:
    assert processed(make_logits(4, 4, -4, 4, 4), [3], repetition_penalty=2.0) == [4, 2, -8, 2, 4]


def test_bias_is_added_and_the_given_row_is_left_alone() -> None:
    logits = make_logits(1, 2, 3)

    assert processed(logits, [], logit_bias=((0, 10.0), (2, -100.0))) == [11, 2, -97]
    assert logits.tolist() == [1, 2, 3]


def test_no_end_token_comes_before_min_tokens() -> None:
    logits = make_logits(9, 1, 0)

    assert say(make_sampler(temperature=0, min_tokens=2), logits, 4) == [1, 1, 0, 0]


def test_a_bias_of_100_decides() -> None:
    assert set(say(make_sampler(logit_bias=((2, 100.0),)), make_logits(9, 1, 0), 10)) == {2}


# --- typical_p and mirostat ---


def test_typical_keeps_what_surprises_as_much_as_expected() -> None:
    """With one likely token and many rare ones, the likely one is nearest the entropy only if it carries it."""
    logits = np.log(make_logits(0.4, 0.3, 0.1, 0.1, 0.1))
    entropy = -sum(p * log(p) for p in (0.4, 0.3, 0.1, 0.1, 0.1))
    nearest = min(range(5), key=lambda i: (abs(-log((0.4, 0.3, 0.1, 0.1, 0.1)[i]) - entropy), i))

    assert {draw(logits, SamplingParams(1, typical_p=0.0), number) for number in (0.0, 0.5, 0.99)} == {nearest}


def test_mirostat_keeps_the_surprise_near_its_target() -> None:
    logits = np.random.default_rng(1).normal(0, 3, 2000).astype(np.float32)
    sampler = make_sampler(mirostat_target=3.0, mirostat_lr=0.1)
    probabilities = np.exp(logits - np.logaddexp.reduce(logits))

    said = say(sampler, logits, 600)[100:]

    assert abs(np.mean([-log2(float(probabilities[token])) for token in said]) - 3.0) < 1.0
