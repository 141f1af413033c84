"""Model metadata of a folder, read from its JSON files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from crossette.errors import ModelError
from crossette.models.graphs import graph_of
from crossette.types import ModelFacts

GENERATION_CONFIG_FILE = "generation_config.json"

END_OF_TURN = frozenset({"<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<end_of_turn>", "<|end|>", "<end_of_utterance>"})
"""Tokens that end a turn in the templates that use them. Many models declare only their end of text."""

_CONTEXT_KEYS = (
    "max_position_embeddings",
    "n_positions",
    "n_ctx",
    "max_sequence_length",
    "seq_length",
    "max_seq_len",
)
_SAMPLING_RANGES = {"temperature": (0.0, 2.0), "top_k": (0, 2**31), "top_p": (0.0, 1.0), "min_p": (0.0, 1.0)}
_RT_INFO_TAIL = 1 << 16
_PRECISION = re.compile(r"(?<![a-z0-9])(int4|int8|nf4|fp16|fp32|bf16)(?![a-z0-9])", re.IGNORECASE)


def end_token_ids(facts: ModelFacts) -> frozenset[int]:
    """The declared end tokens and the control tokens that are known to end a turn."""
    ends = END_OF_TURN
    if "<|return|>" in facts.special_tokens.values():
        # In the harmony format <|end|> ends a message, not the turn, and a call of a tool ends it too.
        ends = ends - {"<|end|>"} | {"<|call|>"}
    return facts.end_token_ids | {token_id for token_id, text in facts.special_tokens.items() if text in ends}


def read_ir_facts(folder: Path, name: str) -> ModelFacts:
    """Read the metadata of a folder; the quantisation may be taken from the model's `name`."""
    return _read_facts(folder, name, read_quantization(folder, name))


def read_checkpoint_facts(folder: Path, name: str) -> ModelFacts:
    """Read the metadata of a folder in Hugging Face's format; the weights may be elsewhere."""
    config = read_config(folder)
    method = _object(config.get("quantization_config")).get("quant_method")
    precision = method or config.get("dtype") or config.get("torch_dtype") or "unknown"
    return _read_facts(folder, name, str(precision))


def _read_facts(folder: Path, name: str, quantization: str) -> ModelFacts:
    config = read_config(folder)
    generation = read_json(folder / GENERATION_CONFIG_FILE)
    tokenizer = read_json(folder / "tokenizer_config.json")
    specials = _special_tokens(folder, tokenizer)
    return ModelFacts(
        architecture=str(config.get("model_type") or "unknown"),
        quantization=quantization,
        context_length=read_context_length(name, config),
        end_token_ids=_ids(config.get("eos_token_id")) | _ids(generation.get("eos_token_id")),
        add_bos=_add_bos(folder, tokenizer),
        chat_template=_chat_template(folder, tokenizer),
        special_tokens=specials,
    )


def read_config(folder: Path) -> dict[str, Any]:
    """The values of config.json, with those of `text_config` taking precedence; empty without the file."""
    config = read_json(folder / "config.json")
    return {**config, **_object(config.get("text_config"))}


def sampling_defaults(folder: Path) -> dict[str, float]:
    """The numeric sampling parameters of generation_config.json.

    `do_sample` is ignored, as in vLLM: in transformers false is the default, also next to temperatures that the
    authors recommend. Greedy sampling is requested with temperature 0.
    """
    path = folder / GENERATION_CONFIG_FILE
    given = {key: value for key, value in read_json(path).items() if key in _SAMPLING_RANGES and _is_number(value)}
    if given.get("top_k") == -1:
        given["top_k"] = 0  # both mean: no limit
    for key, value in given.items():
        low, high = _SAMPLING_RANGES[key]
        if not low <= value <= high:
            raise ModelError(f"Can't use {path}: {key} is {value}, but must be between {low} and {high}.")
    return given


def read_json(path: Path) -> dict[str, Any]:  # Any: files of other programs, validated per key
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except FileNotFoundError:
        return {}
    except msgspec.DecodeError as error:
        raise ModelError(f"Can't read {path}: {error}.") from error


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _ids(value: Any) -> frozenset[int]:
    values = value if isinstance(value, list) else [value]
    return frozenset(v for v in values if isinstance(v, int) and not isinstance(v, bool))


def read_context_length(name: str, config: Mapping[str, Any]) -> int:
    for key in _CONTEXT_KEYS:
        if isinstance(config.get(key), int) and config[key] > 0:
            return int(config[key])
    raise ModelError(
        f"Can't determine the context length of {name}: its config.json has none of"
        f" {', '.join(_CONTEXT_KEYS)}. Add max_position_embeddings to that file."
    )


def read_quantization(folder: Path, name: str) -> str:
    """The weight compression that nncf recorded in the graph's rt_info, else the precision in the name."""
    with graph_of(folder).open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - _RT_INFO_TAIL))
        tail = file.read().decode("utf-8", "replace")
    if mode := re.search(r'<weight_compression>.*?<mode value="([^"]+)"', tail, re.DOTALL):
        return mode[1]
    precision = _PRECISION.search(name)
    return precision[1].lower() if precision else "unknown"


def _chat_template(folder: Path, tokenizer: Mapping[str, Any]) -> str | None:
    """The template of chat_template.jinja, else of chat_template.json, else of tokenizer_config.json.

    Of several the one named default. chat_template.json is that of image-text models from older transformers.
    """
    path = folder / "chat_template.jinja"
    if path.is_file():
        return path.read_text(encoding="utf-8")
    template = read_json(folder / "chat_template.json").get("chat_template") or tokenizer.get("chat_template")
    if isinstance(template, list):
        named = {item.get("name"): item.get("template") for item in map(_object, template)}
        template = named.get("default")
    return template if isinstance(template, str) else None


def _special_tokens(folder: Path, tokenizer: Mapping[str, Any]) -> dict[int, str]:
    """The special tokens by id; newer exporters list them in tokenizer.json only."""
    added = [{**_object(token), "id": key} for key, token in _object(tokenizer.get("added_tokens_decoder")).items()]
    added += _tokenizer_file(folder).added_tokens
    return {int(token["id"]): token["content"] for token in added if token.get("special") and "content" in token}


def _add_bos(folder: Path, tokenizer: Mapping[str, Any]) -> bool:
    """Whether BOS is added: by add_bos_token, else by the post-processor, else as LlamaTokenizer does."""
    if isinstance(tokenizer.get("add_bos_token"), bool):
        return bool(tokenizer["add_bos_token"])
    bos = tokenizer.get("bos_token")
    bos = _object(bos).get("content", bos)
    if (processor := _tokenizer_file(folder).post_processor) is not None:
        return bos is not None and bos in _leading_tokens(processor)
    return str(tokenizer.get("tokenizer_class")).startswith("LlamaTokenizer")


def _leading_tokens(processor: Mapping[str, Any]) -> set[str]:
    """The special tokens that a post-processor of tokenizer.json puts at the start of a text."""
    steps = processor.get("processors") if processor.get("type") == "Sequence" else [processor]
    firsts = [step["single"][0] for step in map(_object, steps or ()) if step.get("single")]
    return {str(_object(first.get("SpecialToken")).get("id")) for first in firsts}


class _TokenizerFile(msgspec.Struct):
    """The part of tokenizer.json that is read here; the vocabulary is skipped."""

    added_tokens: list[dict[str, Any]] = []
    post_processor: dict[str, Any] | None = None


def _tokenizer_file(folder: Path) -> _TokenizerFile:
    path = folder / "tokenizer.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=_TokenizerFile)
    except FileNotFoundError:
        return _TokenizerFile()
    except msgspec.DecodeError as error:
        raise ModelError(f"Can't read {path}: {error}.") from error
