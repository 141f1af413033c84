"""What a GGUF file's metadata say of its model: end tokens, chat template, BOS, sampling."""

from __future__ import annotations

from typing import Any

import pytest

from crossette.engines.openvino.gguf.facts import read_facts, sampling_defaults
from crossette.engines.openvino.gguf.head import GgufHead
from crossette.errors import ModelError

TOKENS = ["a", "<|im_end|>", "<|endoftext|>", "</s>", "<|return|>", "<|end|>", "<end_of_turn>", "b"]


def head(**fields: Any) -> GgufHead:
    """A header whose tokens are all control tokens, but for the first and the last. `__` in a name is a dot."""
    metadata = {
        "general.architecture": "llama",
        "general.file_type": 7,
        "llama.context_length": 128,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.tokens": TOKENS,
        "tokenizer.ggml.token_type": [1, *[3] * 6, 1],
        **{name.replace("__", "."): value for name, value in fields.items()},
    }
    return GgufHead(metadata, ())


def test_end_tokens_are_those_declared_and_those_known() -> None:
    declared = {"tokenizer__ggml__eos_token_id": 7, "tokenizer__ggml__eot_token_id": 0}

    assert read_facts(head()).end_token_ids == {1, 2, 3, 4, 6}
    assert read_facts(head(**declared)).end_token_ids == {0, 1, 2, 3, 4, 6, 7}


def test_html_of_a_vocabulary_ends_nothing() -> None:
    """Gemma has a token for the end of struck-out text."""
    facts = read_facts(head(tokenizer__ggml__token_type=[1, 3, 1, 4, 1, 1, 1, 1]))

    assert facts.end_token_ids == {1}
    assert facts.special_tokens == {1: "<|im_end|>"}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"tokenizer__ggml__pre": "llama-bpe"}, True),
        ({"tokenizer__ggml__pre": "tekken"}, True),
        ({"tokenizer__ggml__pre": "qwen2"}, False),
        ({}, False),
        ({"tokenizer__ggml__model": "llama"}, True),
        ({"tokenizer__ggml__model": "llama", "tokenizer__ggml__add_bos_token": False}, False),
        ({"tokenizer__ggml__add_bos_token": True}, True),
    ],
)
def test_bos_is_added_as_the_file_says_or_as_the_tokenizer_does(fields: dict[str, Any], expected: bool) -> None:
    assert read_facts(head(**fields)).add_bos == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, None),
        ({"tokenizer__chat_template": "D"}, "D"),
        (
            {
                "tokenizer__chat_template": "D",
                "tokenizer__chat_templates": ["tool_use"],
                "tokenizer__chat_template__tool_use": "T",
            },
            "D",
        ),
        ({"tokenizer__chat_templates": ["tool_use"], "tokenizer__chat_template__tool_use": "T"}, "T"),
        ({"tokenizer__chat_templates": ["a", "b"], "tokenizer__chat_template__a": "A"}, None),
    ],
)
def test_the_template_is_the_default_or_the_only_one(fields: dict[str, Any], expected: str | None) -> None:
    assert read_facts(head(**fields)).chat_template == expected


def test_sampling_defaults_are_those_of_the_file() -> None:
    found = sampling_defaults(head(general__sampling__temp=0.6000000238418579, general__sampling__top_k=20))

    assert (found, sampling_defaults(head())) == ({"temperature": 0.6, "top_k": 20}, {})


def test_a_file_without_a_context_length_is_refused() -> None:
    with pytest.raises(ModelError, match=r"its metadata has no llama\.context_length"):
        read_facts(head(llama__context_length=0))
