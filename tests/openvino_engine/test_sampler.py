"""From a row of logits to a token, against a slow and obvious sampler."""

from __future__ import annotations

from itertools import accumulate
from math import exp

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossette.engines.openvino.sampler import Row, draw, sample, uniform
from crossette.engines.openvino.sequence import Sequence
from crossette.types import SamplingParams
from engine_calls import make_request


def make_params(temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0, min_p: float = 0.0) -> SamplingParams:
    return SamplingParams(1, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)


def make_sequence(seed: int, temperature: float = 1.0, position: int = 0) -> Sequence:
    request = make_request(temperature=temperature)
    sequence = Sequence(request, 0, arrival=0, seed=seed, max_output=1000)
    sequence.output = [0] * position
    return sequence


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
    logits = np.stack([make_logits(1, 5, 5), make_logits(7, 5, 7)])

    assert sample([make_sequence(seed, temperature=0) for seed in range(2)], logits) == [1, 0]


@pytest.mark.parametrize("params", [make_params(top_k=1), make_params(top_p=0.0), make_params(min_p=1.0)])
def test_the_narrowest_filters_leave_the_likeliest(params: SamplingParams) -> None:
    logits = make_logits(1, 2, 4, 3)

    assert {draw(logits, params, number) for number in (0.0, 0.5, 0.999999)} == {2}


@settings(deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 8))
def test_a_row_alone_is_a_row_in_a_batch(seed: int, num_rows: int) -> None:
    logits = np.random.default_rng(seed).normal(0, 2, (num_rows, 50)).astype(np.float32)
    sequences = [make_sequence(seed + i, temperature=i % 3 / 2, position=i) for i in range(num_rows)]

    together = sample(sequences, logits)

    assert together == [sample([sequences[i]], logits[i : i + 1])[0] for i in range(num_rows)]


def test_the_next_position_draws_another_number() -> None:
    logits = np.zeros((1, 1000), np.float32)

    drawn = [sample([make_sequence(5, position=position)], logits)[0] for position in range(20)]

    assert len(set(drawn)) > 15


def test_an_empty_batch_has_no_tokens() -> None:
    assert sample([], np.zeros((0, 7), np.float32)) == []
