"""LoRA adapters with random weights, in PEFT's format."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

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
    write_safetensors(folder / "adapter_model.safetensors", tensors, kind)
    return folder


def write_safetensors(path: Path, tensors: Matrices, kind: str = "F32") -> None:
    header, data = {}, b""
    for name, tensor in tensors.items():
        raw = _encoded(tensor, kind)
        header[name] = {"dtype": kind, "shape": tensor.shape, "data_offsets": (len(data), len(data) + len(raw))}
        data += raw
    encoded = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(encoded)) + encoded + data)


def _encoded(tensor: npt.NDArray[np.float32], kind: str) -> bytes:
    if kind == "BF16":
        return (np.ascontiguousarray(tensor).view(np.uint32) >> 16).astype(np.uint16).tobytes()
    return tensor.astype({"F32": np.float32, "F16": np.float16}.get(kind, np.int8)).tobytes()


def _normal(rng: np.random.Generator, shape: tuple[int, int], inputs: int) -> npt.NDArray[np.float32]:
    return (rng.standard_normal(shape) / np.sqrt(inputs)).astype(np.float32)
