"""The graphs of a model folder: one that takes token ids, or those of an image-text model."""

from __future__ import annotations

from collections.abc import Container
from pathlib import Path

import msgspec

MODEL_XML = "openvino_model.xml"
LANGUAGE_XML = "openvino_language_model.xml"
VISION_XML = "openvino_vision_embeddings_model.xml"
_TEXT_XML = "openvino_text_embeddings_model.xml"

IMAGE_TEXT_FILES = (
    *(LANGUAGE_XML, "openvino_language_model.bin"),
    *(_TEXT_XML, "openvino_text_embeddings_model.bin"),
    *("openvino_text_embeddings_per_layer_model.xml", "openvino_text_embeddings_per_layer_model.bin"),
    *(VISION_XML, "openvino_vision_embeddings_model.bin"),
    "preprocessor_config.json",
)
"""The files that only image-text models have. Without those of the vision graph, they read text."""

_SEEING = ("idefics3", "smolvlm")
"""The families whose images are supported."""


class _Config(msgspec.Struct):
    model_type: str = ""


_TOKENIZER_XMLS = ("openvino_tokenizer.xml", "openvino_detokenizer.xml")
"""The graphs of a tokenizer; a folder that crossette converted from GGUF has tokenizer.json instead."""


def graph_among(names: Container[str]) -> str | None:
    """The name of the language model's graph; None if there is none."""
    return next((name for name in (MODEL_XML, LANGUAGE_XML) if name in names), None)


def graph_of(folder: Path) -> Path:
    """The language model's graph, which may not exist."""
    language = folder / LANGUAGE_XML
    return language if language.is_file() and not (folder / MODEL_XML).is_file() else folder / MODEL_XML


def required_files(folder: Path) -> tuple[str, ...]:
    """The files without which a folder cannot be served."""
    graph = graph_of(folder).name
    text = (_TEXT_XML, "openvino_text_embeddings_model.bin") if graph == LANGUAGE_XML else ()
    has_own = (folder / "tokenizer.json").is_file() and not any((folder / name).is_file() for name in _TOKENIZER_XMLS)
    return (graph, graph.replace(".xml", ".bin"), *text, *(("tokenizer.json",) if has_own else _TOKENIZER_XMLS))


def sees(folder: Path) -> bool:
    """Whether the folder has a vision graph of a family whose images are supported."""
    if graph_of(folder).name != LANGUAGE_XML or not (folder / VISION_XML).is_file():
        return False
    try:
        config = msgspec.json.decode((folder / "config.json").read_bytes(), type=_Config)
    except (OSError, msgspec.DecodeError):
        return False
    return config.model_type in _SEEING
