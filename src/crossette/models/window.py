"""Limits of the context length in config.json beyond which the graph computes something else than the model.

Exported graphs contain one case of behaviour that depends on the length of the sequence, and OpenVINO's paged attention
ignores unsupported masks. Neither raises an error.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from crossette.models.facts import read_config
from crossette.types import WindowLimit

_LONG_ROPE = ("longrope", "su")
"""The current and the original name."""


def window_limits(folder: Path) -> tuple[WindowLimit, ...]:
    """The lengths beyond which the graph may compute something else than the model.

    Rotary factors of the type "dynamic" also change with the length, but only beyond `max_position_embeddings`, which
    is the context length.
    """
    config = read_config(folder)
    return (*_chunks(config), *_sliding(config), *_long_ropes(config))


def _chunks(config: Mapping[str, Any]) -> Iterator[WindowLimit]:
    if length := _length(config, "attention_chunk_size"):
        reason = "beyond them the model uses chunked attention (attention_chunk_size), which is not supported yet"
        yield WindowLimit(length, reason)


def _sliding(config: Mapping[str, Any]) -> Iterator[WindowLimit]:
    key = "window_size" if "attention_layers" in config else "sliding_window"
    length = _length(config, key)
    if length and _slides(config):
        reason = f"beyond them the model uses sliding window attention ({key}), but its graph attends to all tokens"
        yield WindowLimit(length, reason, unless_sliding=True)


def _slides(config: Mapping[str, Any]) -> bool:
    """Whether layers have sliding windows: some configs have a length without using it."""
    layers = config.get("layer_types") or config.get("attention_layers")
    if isinstance(layers, list):
        return any(str(layer).startswith(("sliding", "local")) for layer in layers)
    first, count = (_length(config, key) for key in ("max_window_layers", "num_hidden_layers"))
    return config.get("use_sliding_window") is not False and not (first and count and first >= count)


def _long_ropes(config: Mapping[str, Any]) -> Iterator[WindowLimit]:
    """Longrope has two sets of factors: for texts up to a length, and for longer ones. Some graphs lack the second."""
    for rope in _ropes(config):
        length = next(
            filter(None, (_length(each, "original_max_position_embeddings") for each in (config, rope))), None
        )
        if length and rope.get("rope_type", rope.get("type")) in _LONG_ROPE:
            reason = "beyond them the model takes other rotary factors (longrope), which its graph lacks"
            yield WindowLimit(length, reason, unless_chosen=True)


def _ropes(config: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The rotary parameters, under their older and newer key; some models have one set per layer type."""
    for key in ("rope_scaling", "rope_parameters"):
        given = config.get(key)
        if isinstance(given, dict):
            yield from (given, *(each for each in given.values() if isinstance(each, dict)))


def _length(values: Mapping[str, Any], key: str) -> int | None:
    value = values.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
