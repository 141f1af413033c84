"""LoRA adapters with random weights, in PEFT's format."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from support.tiny_encoder import write_tensors

Matrices = Mapping[str, npt.NDArray[np.float32]]

MODULES = {
    "self_attn.q_proj": (128, 128),
    "self_attn.k_proj": (128, 64),
    "self_attn.v_proj": (128, 64),
    "self_attn.o_proj": (128, 128),
    "mlp.gate_proj": (128, 256),
    "mlp.up_proj": (128, 256),
    "mlp.down_proj": (256, 128),
}
"""The inputs and outputs of the modules of the tiny model."""


def random_matrices(
    rank: int, *, seed: int = 0, layers: int = 2, modules: Mapping[str, tuple[int, int]] = MODULES
) -> dict[str, npt.NDArray[np.float32]]:
    """Tensors by PEFT's names. They are large enough to change greedy text."""
    rng = np.random.default_rng(seed)
    tensors = {}
    for layer in range(layers):
        for module, (inputs, outputs) in modules.items():
            name = f"base_model.model.model.layers.{layer}.{module}"
            tensors[f"{name}.lora_A.weight"] = _normal(rng, (rank, inputs), inputs)
            tensors[f"{name}.lora_B.weight"] = _normal(rng, (outputs, rank), rank)
    return tensors


def write_adapter(folder: Path, tensors: Matrices, kind: str = "F32", **config: Any) -> Path:
    """Write an adapter folder; `kind` is the type of its numbers, and `config` its adapter_config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    rank = next(len(tensor) for name, tensor in tensors.items() if "lora_A" in name)
    fields = {"peft_type": "LORA", "r": rank, "lora_alpha": 2 * rank, "bias": "none", "target_modules": ["q_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(fields | config))
    write_tensors(folder / "adapter_model.safetensors", dict(tensors), dtype=kind)
    return folder


def _normal(rng: np.random.Generator, shape: tuple[int, int], inputs: int) -> npt.NDArray[np.float32]:
    matrix: npt.NDArray[np.float32] = (rng.standard_normal(shape) / np.sqrt(inputs)).astype(np.float32)
    return matrix
