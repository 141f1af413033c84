"""A BERT-like encoder in plain numpy, in f64: one text at a time, without a graph."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

_erf = np.vectorize(math.erf)
_TYPES = {"F32": np.float32, "F16": np.float16}


def hidden_states(folder: Path, tokens: Sequence[int]) -> Array:
    """The last hidden states `[tokens, width]` of one text."""
    config = json.loads((folder / "config.json").read_text())
    return _Encoder(read_tensors(folder / "model.safetensors"), config).run(tokens)


def read_tensors(path: Path) -> dict[str, Array]:
    """All tensors of a safetensors file, by their names without a prefix."""
    raw = path.read_bytes()
    (size,) = struct.unpack("<Q", raw[:8])
    tensors = {}
    for name, entry in json.loads(raw[8 : 8 + size]).items():
        if name == "__metadata__" or entry["dtype"] == "I64":
            continue
        start, end = (8 + size + offset for offset in entry["data_offsets"])
        if entry["dtype"] == "BF16":
            values = (np.frombuffer(raw[start:end], np.uint16).astype(np.uint32) << 16).view(np.float32)
        else:
            values = np.frombuffer(raw[start:end], _TYPES[entry["dtype"]])
        short = name[name.find("embeddings.") if "embeddings." in name else name.find("encoder.") :]
        tensors[short] = values.astype(np.float64).reshape(entry["shape"])
    return tensors


class _Encoder:
    def __init__(self, tensors: dict[str, Array], config: dict[str, Any]) -> None:
        self.tensors, self.config = tensors, config

    def run(self, tokens: Sequence[int]) -> Array:
        is_roberta = self.config["model_type"] != "bert"
        first = self.config["pad_token_id"] + 1 if is_roberta else 0
        words, places, kinds = (
            self.tensors[f"embeddings.{name}_embeddings.weight"] for name in ("word", "position", "token_type")
        )
        x = self.norm(words[list(tokens)] + places[first : first + len(tokens)] + kinds[0], "embeddings.LayerNorm")
        for layer in range(self.config["num_hidden_layers"]):
            name = f"encoder.layer.{layer}"
            x = self.norm(
                x + self.linear(self.attend(x, name), f"{name}.attention.output.dense"),
                f"{name}.attention.output.LayerNorm",
            )
            inner = self.linear(x, f"{name}.intermediate.dense")
            inner = (
                np.maximum(inner, 0)
                if self.config["hidden_act"] == "relu"
                else inner * (1 + _erf(inner / math.sqrt(2))) / 2
            )
            x = self.norm(x + self.linear(inner, f"{name}.output.dense"), f"{name}.output.LayerNorm")
        return x

    def attend(self, x: Array, name: str) -> Array:
        heads = self.config["num_attention_heads"]
        query, key, value = (
            self.linear(x, f"{name}.attention.self.{part}").reshape(len(x), heads, -1)
            for part in ("query", "key", "value")
        )
        scores = np.einsum("qhd,khd->hqk", query, key) / math.sqrt(query.shape[-1])
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        attended: Array = np.einsum("hqk,khd->qhd", weights, value).reshape(len(x), -1)
        return attended

    def linear(self, x: Array, name: str) -> Array:
        product: Array = x @ self.tensors[f"{name}.weight"].T + self.tensors[f"{name}.bias"]
        return product

    def norm(self, x: Array, name: str) -> Array:
        centred = x - x.mean(axis=-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + self.config["layer_norm_eps"])
        result: Array = scaled * self.tensors[f"{name}.weight"] + self.tensors[f"{name}.bias"]
        return result


def cosine(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> float:
    one, other = one.astype(np.float64), other.astype(np.float64)
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))
