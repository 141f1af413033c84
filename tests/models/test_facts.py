"""Model metadata in the JSON files of an exported graph."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from crossette.errors import ModelError
from crossette.models.facts import end_token_ids, read_ir_facts, sampling_defaults
from crossette.types import ModelFacts
from support.model_fakes import ir_files, write_files


def facts_of(tmp_path: Path, changes: Mapping[str, object] | None = None, name: str = "model") -> ModelFacts:
    return read_ir_facts(write_files(tmp_path / "ir", ir_files(changes)), name)


def added(tokens: Mapping[str, int]) -> dict[str, object]:
    return {"added_tokens_decoder": {str(index): {"content": text, "special": True} for text, index in tokens.items()}}


def test_the_facts_of_a_folder(tmp_path: Path) -> None:
    assert facts_of(tmp_path) == ModelFacts(
        architecture="qwen2",
        quantization="unknown",
        context_length=4096,
        end_token_ids=frozenset({7}),
        add_bos=False,
        chat_template=None,
        special_tokens={},
    )


def test_end_tokens_are_those_of_both_configs(tmp_path: Path) -> None:
    facts = facts_of(tmp_path, {"generation_config.json": {"eos_token_id": [8, 9]}})

    assert end_token_ids(facts) == {7, 8, 9}


def test_known_end_of_turn_tokens_end_too_and_other_control_tokens_do_not(tmp_path: Path) -> None:
    tokens = added({"<|im_end|>": 11, "<|endoftext|>": 12, "<|im_start|>": 13})

    assert end_token_ids(facts_of(tmp_path, {"tokenizer_config.json": tokens})) == {7, 11}


def test_end_of_turn_tokens_are_found_in_tokenizer_json_alone(tmp_path: Path) -> None:
    tokenizer = {
        "added_tokens": [{"id": 5, "content": "<|eot_id|>", "special": True}],
        "model": {"vocab": {}},
    }

    assert end_token_ids(facts_of(tmp_path, {"tokenizer.json": tokenizer})) == {7, 5}


def test_the_end_of_a_message_is_no_end_token_where_a_turn_has_several_messages(tmp_path: Path) -> None:
    """The call of a tool is."""
    tokens = added({"<|end|>": 11, "<|return|>": 12, "<|call|>": 13})

    assert end_token_ids(facts_of(tmp_path, {"tokenizer_config.json": tokens})) == {7, 13}


@pytest.mark.parametrize(
    ("config", "context"),
    [
        ({"n_positions": 1024}, 1024),
        ({"n_ctx": 2048}, 2048),
        ({"text_config": {"max_position_embeddings": 512}}, 512),
    ],
)
def test_the_context_length_has_several_keys(tmp_path: Path, config: dict[str, object], context: int) -> None:
    assert facts_of(tmp_path, {"config.json": config}).context_length == context


@pytest.mark.parametrize("config", [None, {}, {"n_ctx": None}])
def test_no_context_length_is_an_error_that_says_what_to_add(tmp_path: Path, config: object) -> None:
    with pytest.raises(ModelError, match="Add max_position_embeddings to that file"):
        facts_of(tmp_path, {"config.json": config})


def test_a_file_with_invalid_json_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"Can't read .*config\.json"):
        facts_of(tmp_path, {"config.json": "{"})


@pytest.mark.parametrize(
    ("xml", "name", "quantization"),
    [
        ('<rt_info><nncf><weight_compression><mode value="int4_asym"/>', "model-int8", "int4_asym"),
        ("<net/>", "SmolLM2-INT8-ov", "int8"),
        ("<net/>", "print8", "unknown"),
    ],
)
def test_the_quantization_is_that_of_the_graph_else_that_of_the_name(
    tmp_path: Path, xml: str, name: str, quantization: str
) -> None:
    assert facts_of(tmp_path, {"openvino_model.xml": xml}, name).quantization == quantization


@pytest.mark.parametrize(
    ("files", "template"),
    [
        ({"chat_template.jinja": "own", "tokenizer_config.json": {"chat_template": "other"}}, "own"),
        ({"chat_template.jinja": "own", "chat_template.json": {"chat_template": "processor's"}}, "own"),
        (
            {
                "chat_template.json": {"chat_template": "processor's"},
                "tokenizer_config.json": {"chat_template": "tokenizer's"},
            },
            "processor's",
        ),
        ({"chat_template.json": {}, "tokenizer_config.json": {"chat_template": "tokenizer's"}}, "tokenizer's"),
        ({"tokenizer_config.json": {"chat_template": "text"}}, "text"),
        ({"tokenizer_config.json": {"chat_template": [{"name": "rag", "template": "r"}]}}, None),
        (
            {
                "tokenizer_config.json": {
                    "chat_template": [
                        {"name": "rag", "template": "r"},
                        {"name": "default", "template": "d"},
                    ]
                }
            },
            "d",
        ),
    ],
)
def test_the_chat_template_is_the_file_else_the_configured_default(
    tmp_path: Path, files: dict[str, object], template: str | None
) -> None:
    assert facts_of(tmp_path, files).chat_template == template


_POST = {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>"}}, {"Sequence": {"id": "A"}}]}
_BARE = {"type": "ByteLevel"}


@pytest.mark.parametrize(
    ("config", "post_processor", "add_bos"),
    [
        ({"add_bos_token": True}, None, True),
        ({"add_bos_token": False, "bos_token": "<s>"}, _POST, False),
        ({"bos_token": "<s>"}, _POST, True),
        ({"bos_token": {"content": "<s>"}}, {"type": "Sequence", "processors": [_BARE, _POST]}, True),
        ({"bos_token": "<s>"}, _BARE, False),
        ({"tokenizer_class": "LlamaTokenizer"}, None, True),
        ({"tokenizer_class": "GPT2Tokenizer"}, None, False),
    ],
)
def test_whether_prompts_begin_with_bos(
    tmp_path: Path, config: dict[str, object], post_processor: object, add_bos: bool
) -> None:
    files = {"tokenizer_config.json": config, "tokenizer.json": {"post_processor": post_processor}}

    assert facts_of(tmp_path, files).add_bos is add_bos


@pytest.mark.parametrize(
    ("config", "defaults"),
    [
        (None, {}),
        ({"temperature": 0.6, "top_p": 0.95, "top_k": 20, "min_p": 0}, None),
        ({"do_sample": False, "temperature": None, "top_p": True, "max_length": 20}, {}),
        ({"top_k": -1}, {"top_k": 0}),
    ],
)
def test_sampling_defaults_are_the_numeric_parameters(
    tmp_path: Path, config: object, defaults: dict[str, float] | None
) -> None:
    folder = write_files(tmp_path / "ir", ir_files({"generation_config.json": config}))

    assert sampling_defaults(folder) == (config if defaults is None else defaults)


def test_an_invalid_sampling_default_is_rejected(tmp_path: Path) -> None:
    folder = write_files(tmp_path / "ir", ir_files({"generation_config.json": {"top_p": 5}}))

    with pytest.raises(ModelError, match=r"top_p is 5, but must be between 0\.0 and 1\.0"):
        sampling_defaults(folder)
