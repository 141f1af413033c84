"""Read a LoRA adapter in PEFT's format: a folder of adapter_config.json and adapter_model.safetensors.

What the file holds beyond pairs of low-rank matrices is refused by name: without it the text would be another one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from crossette.engines.openvino.embedder.weights import Weights
from crossette.errors import ModelError

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"

_TENSOR = re.compile(r"(?:base_model\.model\.)?(?P<module>.+)\.lora_(?P<side>[AB])(?:\.default)?\.weight")


class _Config(msgspec.Struct, kw_only=True):
    """The fields of adapter_config.json on which the values depend."""

    peft_type: str = "LORA"
    r: int = 8
    lora_alpha: float = 8
    use_rslora: bool = False
    rank_pattern: dict[str, int] | None = None
    alpha_pattern: dict[str, float] | None = None
    init_lora_weights: bool | str | None = True


_REFUSED: Mapping[str, str] = {
    "use_dora": "it scales the columns of the base's matrices (DoRA)",
    "modules_to_save": "it replaces whole matrices of the base",
    "trainable_token_indices": "it trains embeddings of tokens",
    "target_parameters": "it trains parameters that are not linear layers, as those of experts",
    "layer_replication": "it repeats layers of the base",
    "fan_in_fan_out": "its matrices are transposed",
    "lora_bias": "it has biases",
    "use_qalora": "it pools its inputs",
    "alora_invocation_tokens": "it begins in the middle of a prompt",
    "arrow_config": "it routes between adapters",
    "use_bdlora": "its matrices are block-diagonal",
    "kasa_config": "it has singular values of its own",
    "monteclora_config": "it samples its weights",
}
"""Fields of adapter_config.json that must be unset or false, and what they mean otherwise."""

_CHANGES_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")
"""Initialisations after which an adapter belongs to a base with other weights than the published one."""


@dataclass(frozen=True)
class LowRank:
    """The addition to one matrix product: `scale * (x @ a.T) @ b.T`."""

    a: npt.NDArray[np.float32]
    """`[rank, inputs]`"""
    b: npt.NDArray[np.float32]
    """`[outputs, rank]`"""
    scale: float

    @property
    def rank(self) -> int:
        return len(self.a)


@dataclass(frozen=True)
class Adapter:
    """An adapter's additions by module, such as `model.layers.0.self_attn.q_proj`."""

    name: str
    modules: Mapping[str, LowRank]


def read_adapter(name: str, folder: Path) -> Adapter:
    """Read the adapter of a folder. Raises ModelError for one that is damaged or has more than low-rank matrices."""
    try:
        config = _read_config(folder / CONFIG)
        weights = Weights(folder / WEIGHTS)
        return Adapter(name, {module: _low_rank(weights, module, config) for module in _modules(weights)})
    except OSError as error:
        raise ModelError(f"The adapter '{name}' cannot be read: {error}.") from error
    except ModelError as error:
        raise ModelError(f"The adapter '{name}' in {folder} is not supported: {error}") from error


def _read_config(path: Path) -> _Config:
    try:
        raw: dict[str, Any] = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
        config = msgspec.convert(raw, _Config)
    except msgspec.MsgspecError as error:
        raise ModelError(f"its {CONFIG} is damaged: {error}.") from error
    if config.peft_type != "LORA":
        raise ModelError(f"its peft_type is {config.peft_type!r}, and only 'LORA' is served.")
    for field, meaning in _REFUSED.items():
        if raw.get(field):
            raise ModelError(f"{field} is {raw[field]!r}: {meaning}. Train an adapter without it, or merge it.")
    if raw.get("bias", "none") != "none":
        raise ModelError(f"bias is {raw['bias']!r}: it trains biases of the base, and only 'none' is served.")
    if str(config.init_lora_weights).lower().startswith(_CHANGES_BASE):
        raise ModelError(
            f"init_lora_weights is {config.init_lora_weights!r}: it belongs to a changed base. Save it with"
            " path_initial_model_for_weight_conversion, which makes a plain adapter of it."
        )
    return config


def _modules(weights: Weights) -> Iterable[str]:
    """The modules that have a pair of matrices. Raises ModelError for a tensor that is no part of one."""
    found: dict[str, set[str]] = {}
    for name in weights.names:
        match = _TENSOR.fullmatch(name)
        if match is None:
            raise ModelError(f"its tensor '{name}' is not a matrix of a linear layer's lora_A or lora_B.")
        if ".experts." in match["module"]:
            raise ModelError(f"it changes the experts of the base ('{match['module']}').")
        found.setdefault(match["module"], set()).add(match["side"])
    if not found:
        raise ModelError(f"its {WEIGHTS} has no tensors.")
    for module, sides in found.items():
        if len(sides) != 2:
            raise ModelError(f"'{module}' has only lora_{min(sides)}.")
    return sorted(found)


def _low_rank(weights: Weights, module: str, config: _Config) -> LowRank:
    sides = {match["side"]: name for name in weights.names if (match := _of(name, module))}
    a, b = weights[sides["A"]], weights[sides["B"]]
    rank = _of_pattern(config.rank_pattern, module, config.r)
    if a.ndim != 2 or b.ndim != 2 or (a.shape[0], b.shape[1]) != (rank, rank):
        raise ModelError(f"'{module}' has matrices {a.shape} and {b.shape}, and {CONFIG} says rank {rank}.")
    alpha = _of_pattern(config.alpha_pattern, module, config.lora_alpha)
    return LowRank(a, b, alpha / (sqrt(rank) if config.use_rslora else rank))


def _of(name: str, module: str) -> re.Match[str] | None:
    match = _TENSOR.fullmatch(name)
    return match if match is not None and match["module"] == module else None


def _of_pattern(pattern: Mapping[str, Any] | None, module: str, default: Any) -> Any:
    """The value of the first pattern that a module's name ends in or, after ^, begins with."""
    for key, value in (pattern or {}).items():
        try:
            if re.match(key if key.startswith("^") else rf"(.*\.)?({key})$", module):
                return value
        except re.error as error:
            raise ModelError(f"the pattern '{key}' of its {CONFIG} is damaged: {error}.") from error
    return default
