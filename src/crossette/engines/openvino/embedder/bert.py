"""The graph of a BERT-like encoder, built from its weights.

There is no attention mask: all rows of a batch have the same length.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from crossette.engines.openvino.embedder.weights import Tensor, Weights

IDS, POSITIONS = "input_ids", "position_ids"

_ANCHOR = "embeddings.word_embeddings.weight"


@dataclass(frozen=True, slots=True)
class BertShape:
    """The dimensions of an encoder."""

    layers: int
    heads: int
    width: int
    epsilon: float
    activation: str
    first_position: int
    """The position of a text's first token: RoBERTa's begin after that of padding."""

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> BertShape:
        """From the values of config.json."""
        is_roberta = config["model_type"] in ("roberta", "xlm-roberta")
        return cls(
            layers=config["num_hidden_layers"],
            heads=config["num_attention_heads"],
            width=config["hidden_size"],
            epsilon=config.get("layer_norm_eps", 1e-12),
            activation=config["hidden_act"],
            first_position=config.get("pad_token_id", 1) + 1 if is_roberta else 0,
        )


def build_bert(weights: Path, shape: BertShape) -> ov.Model:
    """The graph: token ids `[rows, tokens]` and positions `[tokens]` to vectors `[rows, tokens, width]`.

    Raises ModelError for missing tensors.
    """
    return _Builder(Weights(weights, anchor=_ANCHOR), shape).model()


@dataclass(frozen=True, slots=True)
class _Builder:
    weights: Weights
    shape: BertShape

    def model(self) -> ov.Model:
        ids, positions = _parameter([-1, -1], IDS), _parameter([-1], POSITIONS)
        hidden = self._embeddings(ids, positions)
        for layer in range(self.shape.layers):
            hidden = self._layer(hidden, f"encoder.layer.{layer}")
        return ov.Model([hidden], [ids, positions], "encoder")

    def _embeddings(self, ids: Any, positions: Any) -> Any:  # Any: a node, for which the package has no stubs
        words, places = self.weights[_ANCHOR], self.weights["embeddings.position_embeddings.weight"]
        places = places[self.shape.first_position :] + self.weights["embeddings.token_type_embeddings.weight"][0]
        vectors = ops.add(_rows(words, ids), _rows(places, positions))
        return self._norm(vectors, "embeddings.LayerNorm")

    def _layer(self, hidden: Any, name: str) -> Any:
        attended = self._linear(self._attention(hidden, f"{name}.attention.self"), f"{name}.attention.output.dense")
        hidden = self._norm(ops.add(attended, hidden), f"{name}.attention.output.LayerNorm")
        inner = self._activation(self._linear(hidden, f"{name}.intermediate.dense"))
        return self._norm(ops.add(self._linear(inner, f"{name}.output.dense"), hidden), f"{name}.output.LayerNorm")

    def _attention(self, hidden: Any, name: str) -> Any:
        query, key, value = (self._heads(self._linear(hidden, f"{name}.{part}")) for part in ("query", "key", "value"))
        attended = ops.scaled_dot_product_attention(query, key, value)
        return ops.reshape(_swap_heads(attended), _integers(0, 0, self.shape.width), True)

    def _heads(self, vectors: Any) -> Any:
        """`[rows, tokens, width]` as `[rows, heads, tokens, width of a head]`."""
        heads, width = self.shape.heads, self.shape.width
        return _swap_heads(ops.reshape(vectors, _integers(0, 0, heads, width // heads), True))

    def _activation(self, vectors: Any) -> Any:
        if self.shape.activation == "relu":
            return ops.relu(vectors)
        return ops.gelu(vectors, "tanh" if self.shape.activation == "gelu_new" else "erf")

    def _linear(self, vectors: Any, name: str) -> Any:
        product = ops.matmul(vectors, ops.constant(self.weights[f"{name}.weight"]), False, True)
        return ops.add(product, ops.constant(self.weights[f"{name}.bias"]))

    def _norm(self, vectors: Any, name: str) -> Any:
        normal = ops.mvn(vectors, _integers(-1), True, self.shape.epsilon, "inside_sqrt")
        scaled = ops.multiply(normal, ops.constant(self.weights[f"{name}.weight"]))
        return ops.add(scaled, ops.constant(self.weights[f"{name}.bias"]))


def _parameter(shape: list[int], name: str) -> Any:
    parameter = ops.parameter(shape, np.int64, name=name)
    parameter.output(0).get_tensor().set_names({name})
    return parameter


def _rows(table: Tensor, indices: Any) -> Any:
    return ops.gather(ops.constant(table), indices, ops.constant(np.int64(0)))


def _swap_heads(vectors: Any) -> Any:
    return ops.transpose(vectors, _integers(0, 2, 1, 3))


def _integers(*values: int) -> Any:
    return ops.constant(np.array(values, np.int64))
