"""Every field of a request is mapped to vLLM's, or refused by its name."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from crossette.engines.vllm.params import SAMPLING, body, sampling_params
from crossette.errors import Unsupported
from crossette.types import Constraint, GenerationRequest, PlacedImage, PromptImage, SamplingParams

PLAIN = GenerationRequest(id="a", prompt=(1, 2, 3), sampling=SamplingParams(8, seed=5), end_token_ids=frozenset({9}))

OTHER_SAMPLING: dict[str, Any] = {
    "max_tokens": 7,
    "temperature": 0.5,
    "top_k": 3,
    "top_p": 0.5,
    "min_p": 0.5,
    "typical_p": 0.5,
    "mirostat_target": 3.0,
    "mirostat_lr": 0.5,
    "repetition_penalty": 1.5,
    "frequency_penalty": 0.5,
    "presence_penalty": 0.5,
    "logit_bias": ((7, 1.5),),
    "min_tokens": 2,
    "seed": 6,
    "ignore_eos": True,
}
OTHER_REQUEST: dict[str, Any] = {
    "id": "b",
    "prompt": (4,),
    "sampling": SamplingParams(7, seed=5),
    "n": 2,
    "end_token_ids": frozenset({8}),
    "logprobs": 2,
    "prompt_logprobs": True,
    "constraint": Constraint("regex", "a+"),
    "prediction": (1, 2),
    "tenant": "key_1",
    "isolation_key": "mine",
    "priority": 3,
    "hidden_state": True,
    "images": (PlacedImage(0, PromptImage(tokens=(4,), digest=b"")),),
    "adapter": "mine",
}
REFUSED = {
    "typical_p": "typical_p",
    "mirostat_target": "mirostat_target",
    "hidden_state": "model",
    "images": "images",
    "adapter": "model",
}
"""Fields that vLLM does not have, and the parameter that the error names."""
BEFORE_VLLM = {"id", "n", "prediction", "priority", "mirostat_lr"}
"""Fields that do not change what vLLM is sent: the engine itself acts on them, or they never change an answer."""


def sent(request: GenerationRequest, index: int = 0) -> dict[str, Any]:
    params = sampling_params(
        request, index, seed=request.sampling.seed or 0, max_tokens=request.sampling.max_tokens, eos_id=2
    )
    return body(request, index, params)


def test_these_tests_know_all_fields() -> None:
    assert set(OTHER_SAMPLING) == {field.name for field in fields(SamplingParams)} == set(SAMPLING)
    assert set(OTHER_REQUEST) == {field.name for field in fields(GenerationRequest)}


@pytest.mark.parametrize("name", [*OTHER_SAMPLING, *OTHER_REQUEST])
def test_each_field_is_sent_refused_or_used_before_vllm(name: str) -> None:
    if name in OTHER_SAMPLING:
        other = replace(PLAIN, sampling=replace(PLAIN.sampling, **{name: OTHER_SAMPLING[name]}))
    else:
        other = replace(PLAIN, **{name: OTHER_REQUEST[name]})

    if name in REFUSED:
        with pytest.raises(Unsupported, match=name.replace("_", ".")) as raised:
            sent(other)
        assert raised.value.param == REFUSED[name]
    else:
        assert (sent(other) == sent(PLAIN)) == (name in BEFORE_VLLM)


def test_a_plain_request() -> None:
    assert sent(PLAIN) == {
        "token_ids": [1, 2, 3],
        "stream": True,
        "stream_options": {"include_usage": True},
        "sampling_params": {
            "n": 1,
            "detokenize": False,
            "skip_special_tokens": False,
            "ignore_eos": True,
            "stop_token_ids": [9],
            "top_k": 0,
            "top_p": 1.0,
            "temperature": 1.0,
            "min_p": 0.0,
            "repetition_penalty": 1.0,
            "frequency_penalty": 0.0,
            "presence_penalty": 0.0,
            "seed": 5,
            "max_tokens": 8,
            "min_tokens": 0,
        },
    }


@pytest.mark.parametrize(
    ("values", "param", "message"),
    [
        ({"temperature": 0.001}, "temperature", "Send 0, or at least 0.01"),
        ({"temperature": 0.009999}, "temperature", "Send 0, or at least 0.01"),
        ({"repetition_penalty": 0.0}, "repetition_penalty", "Send a larger one"),
    ],
)
def test_values_that_vllm_would_change_are_refused(values: dict[str, float], param: str, message: str) -> None:
    request = replace(PLAIN, sampling=SamplingParams(8, **values))  # type: ignore[arg-type]

    with pytest.raises(Unsupported, match=message) as raised:
        sent(request)

    assert raised.value.param == param


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"temperature": 0.0}, {"temperature": 0.0}),
        ({"temperature": 0.01}, {"temperature": 0.01}),
        ({"top_p": 0.0, "top_k": 5}, {"top_p": 1.0, "top_k": 1}),
        ({"max_tokens": 0}, {"max_tokens": 1}),
        ({"min_tokens": 50}, {"min_tokens": 8}),
        ({"logit_bias": ((3, -1.0), (4, 2.0))}, {"logit_bias": {"3": -1.0, "4": 2.0}}),
        ({"ignore_eos": True}, {"ignore_eos": True, "stop_token_ids": []}),
    ],
)
def test_values_outside_vllms_range_are_mapped(values: dict[str, Any], expected: dict[str, Any]) -> None:
    request = replace(PLAIN, sampling=SamplingParams(**({"max_tokens": 8} | values)))

    params = sent(request)["sampling_params"]

    assert {name: params[name] for name in expected} == expected


@pytest.mark.parametrize("seed", [0, -1, 2**64 - 1, -(2**63)])
def test_seeds_are_within_vllms_range_and_count_up_with_the_choices(seed: int) -> None:
    request = replace(PLAIN, sampling=SamplingParams(8, seed=seed), n=2)

    first, second = (sent(request, index)["sampling_params"]["seed"] for index in range(2))

    assert 0 <= first < 2**63
    assert second == (first + 1) % 2**63


def test_a_grammar_ends_with_vllms_end_token_even_if_ends_are_ignored() -> None:
    request = replace(PLAIN, constraint=Constraint("regex", "a+"), sampling=SamplingParams(8, ignore_eos=True))

    assert sent(request)["sampling_params"]["stop_token_ids"] == [2]


def test_min_tokens_with_a_grammar_is_refused() -> None:
    """vLLM would mask all tokens once the grammar has ended."""
    request = replace(PLAIN, constraint=Constraint("regex", "a+"), sampling=SamplingParams(8, min_tokens=1))

    with pytest.raises(Unsupported, match="min_tokens"):
        sent(request)


def test_only_the_first_choice_scores_the_prompt() -> None:
    request = replace(PLAIN, prompt_logprobs=True, n=2)

    first, second = sent(request, 0), sent(request, 1)

    assert (first["stream"], first["sampling_params"]["prompt_logprobs"]) == (False, 0)
    assert second["stream"] and "prompt_logprobs" not in second["sampling_params"]


def test_caches_of_tenants_and_isolation_keys_are_apart() -> None:
    pairs = [("a", ""), ("", "a"), ("a", "b"), ("a b", ""), ('a", "b', "")]
    salts = [sent(replace(PLAIN, tenant=tenant, isolation_key=key))["cache_salt"] for tenant, key in pairs]

    assert len(set(salts)) == len(pairs)
    assert "cache_salt" not in sent(PLAIN)
