"""Embedding models on disk: their files, and what these say of the vectors.

The layout is that of sentence-transformers: `modules.json` lists the stages, `1_Pooling/config.json` states how the
vectors of the tokens become one. The weights are safetensors, or an OpenVINO graph.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from crossette.errors import ModelError
from crossette.models.facts import read_config, read_context_length, read_json, read_quantization
from crossette.models.graphs import MODEL_XML
from crossette.models.reference import WEIGHTS
from crossette.types import EmbeddingFacts, ModelFacts, Pooling

POOLING_CONFIG: Final = "1_Pooling/config.json"
EMBEDDING_FILES: Final = (
    "modules.json",
    POOLING_CONFIG,
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
)
ENCODER_FILES: Final = (
    WEIGHTS,
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    *EMBEDDING_FILES,
)
"""The files that are copied from a folder of safetensors."""

ENCODERS: Final = ("bert", "roberta", "xlm-roberta")
"""The `model_type` of the encoders whose graph is built from safetensors."""

_OUTPUTS = (b'names="last_hidden_state"', b'names="token_embeddings"')
"""How the graph of an embedding model names its output, in OpenVINO's XML."""
_POOLINGS: Mapping[str, Pooling] = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_lasttoken": "last",
}
_TYPES = {"float16": "f16", "bfloat16": "bf16"}
_HEADS = ("ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering", "ForMultipleChoice")
"""Ends of the names of architectures whose purpose is not a vector."""
_MODULES = ("Transformer", "Pooling", "Normalize")


class _Module(msgspec.Struct):
    """An entry of modules.json."""

    type: str
    """The Python class of the stage."""


def has_embeddings(folder: Path) -> bool:
    """Whether the model of a folder computes vectors: it has an encoder's weights, or a graph with such an output."""
    graph = folder / MODEL_XML
    if not graph.is_file():
        return (folder / WEIGHTS).is_file()
    text = graph.read_bytes()
    return any(name in text for name in _OUTPUTS)


def read_encoder_facts(folder: Path, name: str) -> ModelFacts:
    """The metadata of an embedding model. Raises ModelError for one that cannot be served."""
    if not (folder / "tokenizer.json").is_file():
        raise ModelError(f"Can't use {name}: it has no tokenizer.json. Save its tokenizer in the fast format.")
    config = read_config(folder)
    if (folder / WEIGHTS).is_file():
        _check_family(name, config)
        quantization = _precision(config)
    else:
        quantization = read_quantization(folder, name)
    read_embedding_facts(folder, name)  # raises ModelError for stages that are not built
    return ModelFacts(
        architecture=str(config.get("model_type") or "unknown"),
        quantization=quantization,
        context_length=_window(folder, name, config),
        end_token_ids=frozenset(),
        add_bos=False,
        chat_template=None,
        special_tokens={},
    )


def read_embedding_facts(folder: Path, name: str) -> EmbeddingFacts:
    """How the model's vectors are made. Raises ModelError for stages that are not built."""
    config = read_config(folder)
    modules = _modules(folder, name)
    dimensions = config.get("hidden_size")
    if not isinstance(dimensions, int):
        raise ModelError(f"Can't use {name}: its config.json has no hidden_size.")
    shorter = config.get("matryoshka_dimensions") or config.get("is_matryoshka") or False
    return EmbeddingFacts(
        dimensions=dimensions,
        pooling=_pooling(folder, name),
        normalized="Normalize" in modules,
        shorter=tuple(sorted(shorter)) if isinstance(shorter, list) else bool(shorter),
        is_declared=(folder / POOLING_CONFIG).is_file(),
    )


def _modules(folder: Path, name: str) -> list[str]:
    """The kinds of the model's stages, by the last part of their class names; [] if it declares none."""
    path = folder / "modules.json"
    if not path.is_file():
        return []
    try:
        modules = msgspec.json.decode(path.read_bytes(), type=list[_Module])
    except msgspec.DecodeError as error:
        raise ModelError(f"Can't read {path}: {error}.") from error
    kinds = [module.type.rpartition(".")[2] for module in modules]
    if unknown := [kind for kind in kinds if kind not in _MODULES]:
        raise ModelError(
            f"Can't use {name}: its modules.json has the stage {unknown[0]}, and only {', '.join(_MODULES)} are built."
        )
    return kinds


def _pooling(folder: Path, name: str) -> Pooling:
    modes = read_json(folder / POOLING_CONFIG)
    chosen = [mode for mode, value in modes.items() if mode.startswith("pooling_mode_") and value is True]
    if not modes:
        return "mean"
    if len(chosen) != 1 or chosen[0] not in _POOLINGS:
        raise ModelError(
            f"Can't use {name}: its {POOLING_CONFIG} pools by {' and '.join(chosen) or 'nothing'}, and only one of"
            f" {', '.join(_POOLINGS)} is built."
        )
    return _POOLINGS[chosen[0]]


def _check_family(name: str, config: Mapping[str, Any]) -> None:
    family = str(config.get("model_type"))
    if family not in ENCODERS:
        raise ModelError(
            f"Can't use {name}: it is a model of the family '{family}' in safetensors, of which only embedding models"
            f" of {', '.join(ENCODERS)} are read. Export it: optimum-cli export openvino --model {name} FOLDER"
            " (package optimum-intel)."
        )
    heads = [name for name in map(str, config.get("architectures") or ()) if name.endswith(_HEADS)]
    if heads:
        raise ModelError(
            f"Can't use {name}: its config.json says {heads[0]}, a model with a head of its own, such as a reranker"
            " that reads query and document together. Only its vectors could be computed. Use an embedding model."
        )
    kind = config.get("position_embedding_type") or "absolute"
    if kind != "absolute" or config.get("hidden_act") not in ("gelu", "relu", "gelu_new"):
        raise ModelError(
            f"Can't use {name}: its position embeddings are '{kind}' and its activation is"
            f" '{config.get('hidden_act')}'. Built are absolute positions, and gelu, gelu_new and relu."
        )


def _window(folder: Path, name: str, config: Mapping[str, Any]) -> int:
    """The most tokens of a text, special ones included: what the model was made for, within its positions."""
    positions = read_context_length(name, config)
    if config.get("model_type") in ("roberta", "xlm-roberta"):
        positions -= int(config.get("pad_token_id", 1)) + 1  # its positions begin after that of padding
    made_for = read_json(folder / "sentence_bert_config.json").get("max_seq_length")
    return min(positions, made_for) if isinstance(made_for, int) and made_for > 0 else positions


def _precision(config: Mapping[str, Any]) -> str:
    """The type of the weights, as the config states it."""
    return _TYPES.get(str(config.get("dtype") or config.get("torch_dtype")), "f32")
