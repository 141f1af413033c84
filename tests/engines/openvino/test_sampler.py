"""Sampling a token from logits, compared with a slow and simple reference."""

from __future__ import annotations

from itertools import accumulate
from math import exp, log, log2
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossette.engines.openvino.logits import LogitsProcessor, LogitsRow
from crossette.engines.openvino.sampler import TokenSampler, pick, uniform
from crossette.engines.openvino.top_k import largest
from crossette.types import SamplingParams


def make_params(temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0, min_p: float = 0.0) -> SamplingParams:
    return SamplingParams(1, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)


def make_sampler(seed: int = 0, **params: Any) -> TokenSampler:
    sampling = SamplingParams(1000, **params)
    return TokenSampler(sampling, seed=seed, prompt=(1, 2, 2), end_token_ids={0})


def sample(logits: LogitsRow, params: SamplingParams, number: float) -> int:
    return pick(logits, params, number)[0]


def generate(sampler: TokenSampler, logits: LogitsRow, count: int) -> list[int]:
    """`count` tokens, all sampled from the same logits."""
    tokens = []
    for _ in range(count):
        tokens.append(sampler.sample(logits)[0])
        sampler.accept_token(tokens[-1])
    return tokens


def make_logits(*values: float) -> LogitsRow:
    return np.array(values, np.float32)


def reference(logits: LogitsRow, params: SamplingParams, number: float) -> int:
    """Sort all tokens, apply the filters, and accumulate the remaining weights up to `number`."""
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
    passed = 0.0
    for i in kept:
        passed += weights[i]
        if passed > number * total:
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


@pytest.mark.slow
@settings(deadline=None, max_examples=500)
@given(tied_logits, any_params, numbers)
def test_sampling_agrees_with_the_reference(logits: LogitsRow, params: SamplingParams, number: float) -> None:
    assert sample(logits, params, number) == reference(logits, params, number)


@pytest.mark.parametrize("top_p", [0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("top_k", [0, 700])
def test_a_nucleus_of_many_tokens_is_complete(top_p: float, top_k: int) -> None:
    """The largest 128 tokens are tried first, then more."""
    rng = np.random.default_rng(0)
    flat = np.round(rng.normal(0, 0.2, 3000), 1).astype(np.float32)  # ties, and a wide nucleus
    params = make_params(top_p=top_p, top_k=top_k)

    for number in (0.0, 0.2, 0.5, 0.77, 0.999999):
        assert sample(flat, params, number) == reference(flat, params, number)


@pytest.mark.parametrize("size", [1, 63, 64, 256, 257, 5000, 49_152])
@pytest.mark.parametrize("count", [1, 2, 5, 40, 128, 700])
def test_the_largest_are_those_of_a_stable_sort(size: int, count: int) -> None:
    values = np.round(np.random.default_rng(size + count).normal(0, 3, size), 1).astype(np.float32)  # many ties

    assert largest(values, count).tolist() == sorted(np.argsort(-values, kind="stable")[:count].tolist())


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 2000), st.integers(0, 2**32), numbers)
def test_a_number_selects_the_token_at_its_cumulative_probability(size: int, seed: int, number: float) -> None:
    """Summing in blocks selects the same token, except for a number at the boundary of two."""
    logits = np.random.default_rng(seed).normal(0, 60, size).astype(np.float32)  # most weights are 0
    weights = np.exp(logits - logits.max()).astype(np.float64)
    ends = np.cumsum(weights) / weights.sum()

    token, probability = pick(logits, make_params(), number)

    assert weights[token] > 0
    assert probability == pytest.approx(weights[token] / weights.sum(), rel=1e-4)
    assert ends[token] >= number - 1e-6
    assert token == 0 or ends[token - 1] <= number + 1e-6


def test_the_largest_number_selects_the_last_token_with_weight() -> None:
    logits = np.full(1000, -np.inf, np.float32)
    logits[[3, 700]] = 0.0

    assert sample(logits, make_params(), 1 - 2**-53) == 700


@pytest.mark.slow
def test_token_frequencies_match_the_softmax() -> None:
    logits = make_logits(2.0, 0.0, 1.0, -1.0, 1.0)
    temperature, num_samples = 0.8, 20_000
    params = make_params(temperature=temperature)

    counts = np.bincount([sample(logits, params, uniform(1, i)) for i in range(num_samples)], minlength=5)

    weights = [exp(float(x) / temperature) for x in logits]
    expected = [weight / sum(weights) for weight in weights]
    assert np.abs(counts / num_samples - expected).max() < 0.01


def test_numbers_are_uniform_and_depend_on_seed_and_position_only() -> None:
    numbers = [uniform(seed, position) for seed in range(50) for position in range(50)]

    assert numbers == [uniform(seed, position) for seed in range(50) for position in range(50)]
    assert len(set(numbers)) == 2500
    assert all(0 <= number < 1 for number in numbers)
    assert np.abs(np.histogram(numbers, 10, (0, 1))[0] - 250).max() < 70  # 4.5 standard deviations


def test_seeds_wrap_around_at_64_bits() -> None:
    assert uniform(-1, 3) == uniform(2**64 - 1, 3)
    assert uniform(2**64, 3) == uniform(0, 3)


def test_a_seed_gives_the_same_numbers_in_every_release() -> None:
    """Changing the generator changes all seeded output, so it must be deliberate."""
    assert [round(uniform(42, position), 12) for position in range(3)] == [
        0.820198147861,
        0.368128450909,
        0.876797967446,
    ]


@pytest.mark.parametrize("temperature", [1e-6, 1e-30, 1e-45, 1e-300])
def test_a_tiny_temperature_selects_the_most_likely_token(temperature: float) -> None:
    logits = make_logits(0.5, 3.0, 2.999, -40.0)

    assert {sample(logits, make_params(temperature), number) for number in (0.0, 0.5, 0.999999)} == {1}


def test_temperature_0_selects_the_first_of_the_most_likely_tokens() -> None:
    assert make_sampler(temperature=0).sample(make_logits(1, 5, 5)) == (1, 0.0)
    assert make_sampler(temperature=0).sample(make_logits(7, 5, 7)) == (0, 0.0)


@pytest.mark.parametrize("params", [make_params(top_k=1), make_params(top_p=0.0), make_params(min_p=1.0)])
def test_the_narrowest_filters_keep_the_most_likely_token(params: SamplingParams) -> None:
    logits = make_logits(1, 2, 4, 3)

    assert {sample(logits, params, number) for number in (0.0, 0.5, 0.999999)} == {2}


def test_the_next_position_uses_another_number() -> None:
    assert len(set(generate(make_sampler(5), np.zeros(1000, np.float32), 20))) > 15


def test_only_the_same_seed_gives_the_same_tokens() -> None:
    logits = np.random.default_rng(0).normal(0, 1, 500).astype(np.float32)

    outputs = [generate(make_sampler(seed, top_p=0.9), logits, 10) for seed in (3, 3, 4)]

    assert outputs[0] == outputs[1] != outputs[2]


def test_the_logprob_is_that_of_the_filtered_distribution() -> None:
    sampler = make_sampler(top_k=2)

    token, logprob = sampler.sample(make_logits(1.0, 1.0, -3.0))

    assert (token in (0, 1), round(logprob, 12)) == (True, round(log(0.5), 12))


# --- penalties, bias, min_tokens ---


def processed(logits: LogitsRow, output: list[int], **params: Any) -> list[float]:
    processor = LogitsProcessor(SamplingParams(1000, **params), prompt=(1, 2, 2), end_token_ids={0})
    for token in output:
        processor.accept_token(token)
    values: list[float] = processor.apply(logits).tolist()
    return values


def test_frequency_and_presence_penalties_apply_to_the_output_only() -> None:
    logits = make_logits(5, 5, 5, 5)

    assert processed(logits, [3, 3, 1], frequency_penalty=0.5) == [5, 4.5, 5, 4]
    assert processed(logits, [3, 3, 1], presence_penalty=0.5) == [5, 4.5, 5, 4.5]


def test_repetition_penalty_applies_to_prompt_and_output() -> None:
    assert processed(make_logits(4, 4, -4, 4, 4), [3], repetition_penalty=2.0) == [4, 2, -8, 2, 4]


def test_bias_is_added_and_the_raw_logits_are_not_modified() -> None:
    logits = make_logits(1, 2, 3)

    assert processed(logits, [], logit_bias=((0, 10.0), (2, -100.0))) == [11, 2, -97]
    assert logits.tolist() == [1, 2, 3]


def test_no_end_token_is_sampled_before_min_tokens() -> None:
    logits = make_logits(9, 1, 0)

    assert generate(make_sampler(temperature=0, min_tokens=2), logits, 4) == [1, 1, 0, 0]


def test_a_bias_of_100_forces_a_token() -> None:
    assert set(generate(make_sampler(logit_bias=((2, 100.0),)), make_logits(9, 1, 0), 10)) == {2}


# --- typical_p and mirostat ---


def test_typical_p_keeps_tokens_with_surprisal_near_the_entropy() -> None:
    """At typical_p 0 only the token nearest the entropy remains."""
    logits = np.log(make_logits(0.4, 0.3, 0.1, 0.1, 0.1))
    entropy = -sum(p * log(p) for p in (0.4, 0.3, 0.1, 0.1, 0.1))
    nearest = min(range(5), key=lambda i: (abs(-log((0.4, 0.3, 0.1, 0.1, 0.1)[i]) - entropy), i))

    assert {sample(logits, SamplingParams(1, typical_p=0.0), number) for number in (0.0, 0.5, 0.99)} == {nearest}


def test_mirostat_keeps_the_surprisal_near_its_target() -> None:
    logits = np.random.default_rng(1).normal(0, 3, 2000).astype(np.float32)
    sampler = make_sampler(mirostat_target=3.0, mirostat_lr=0.1)
    probabilities = np.exp(logits - np.logaddexp.reduce(logits))

    output = generate(sampler, logits, 600)[100:]

    assert abs(np.mean([-log2(float(probabilities[token])) for token in output]) - 3.0) < 1.0
