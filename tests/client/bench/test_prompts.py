from __future__ import annotations

import pytest

from crossette.client.bench.prompts import Prompts


def test_the_same_seed_and_number_give_the_same_prompt() -> None:
    assert Prompts("short", 96, seed=1)[5] == Prompts("short", 96, seed=1)[5]
    assert Prompts("short", 96, seed=1)[5] != Prompts("short", 96, seed=2)[5]


@pytest.mark.parametrize("shape", ["short", "long"])
def test_no_two_of_300_prompts_begin_with_the_same_word(shape: str) -> None:
    prompts = Prompts(shape, 96, seed=1)

    assert len({prompts[number].own.split()[0] for number in range(300)}) == 300


@pytest.mark.slow
def test_no_two_of_20000_prompts_begin_with_the_same_two_words() -> None:
    prompts = Prompts("short", 12, seed=1)

    assert len({tuple(prompts[number].own.split()[:2]) for number in range(20_000)}) == 20_000


@pytest.mark.parametrize("num_tokens", [16, 96, 4000])
def test_a_prompt_has_about_as_many_words_as_requested_tokens(num_tokens: int) -> None:
    assert abs(len(Prompts("long", num_tokens, seed=1)[0].own.split()) - num_tokens) <= 3


def test_shared_prompts_share_a_prefix_and_differ_from_the_first_word_after_it() -> None:
    prompts = Prompts("shared", 1200, seed=1)
    first, second = prompts[0], prompts[1]

    assert first.shared == second.shared
    assert len(first.shared.split()) == 1200
    assert first.own.split()[0] != second.own.split()[0]
    assert len(first.own.split()) < 40


@pytest.mark.parametrize("num_tokens", [1, 2, 96])
def test_prompts_of_ids_have_exactly_the_requested_length(num_tokens: int) -> None:
    ids = Prompts("short", num_tokens, seed=123_456, token_ids=True)[7].ids

    assert len(ids) == num_tokens
    assert all(100 <= token_id < 10_000 for token_id in ids)


@pytest.mark.slow
def test_prompts_of_ids_differ_from_the_first_id_after_the_shared_prefix() -> None:
    short = Prompts("short", 96, seed=1, token_ids=True)
    shared = Prompts("shared", 50, seed=1, token_ids=True)

    assert len({short[number].ids[0] for number in range(9_000)}) == 9_000
    assert shared[0].ids[:50] == shared[1].ids[:50]
    assert shared[0].ids[50] != shared[1].ids[50]
