"""Attention with keys and values kept in states, in the one shape that OpenVINO turns into a paged cache (model.py)."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import openvino as ov
from openvino import opset13 as ops
from openvino.op.util import Variable, VariableInfo

from crossette.engines.openvino.gguf.families import Family
from crossette.engines.openvino.gguf.parts import linear, rms_norm
from crossette.engines.openvino.gguf.rotary import Rotary
from crossette.engines.openvino.gguf.shape import Shape
from crossette.engines.openvino.gguf.weights import Weights

_HIDDEN = -65504.0
"""The score of a key that must not be seen. Not infinity: a row that sees nothing would be no number."""


@dataclass(frozen=True)
class Attention:
    """What the attention of all layers shares."""

    shape: Shape
    family: Family
    rotary: Rotary
    cos: ov.Node
    sin: ov.Node
    mask: ov.Node
    """`[batch, 1, tokens, keys]`, added to the scores."""
    batch: ov.Node
    """`[1]`: how many texts there are."""
    beams: ov.Node
    sinks: list[ov.Node] = field(default_factory=list)
    """The nodes that write the states."""

    def of(self, x: ov.Node, weights: Weights, layer: int) -> ov.Node:
        """Attention of one layer over `x` `[batch, tokens, width]`."""
        block, shape = f"blk.{layer}", self.shape
        queries = self._turned(x, weights, f"{block}.attn_q", shape.heads)
        keys = self._turned(x, weights, f"{block}.attn_k", shape.kv_heads)
        as_they_are = np.arange(shape.kv_heads * shape.head_size)
        values = self._heads(linear(x, weights, f"{block}.attn_v", as_they_are), shape.kv_heads)
        keys = self._shared(self._remembered(keys, f"past_key_values.{layer}.key"))
        values = self._shared(self._remembered(values, f"past_key_values.{layer}.value"))
        y = ops.scaled_dot_product_attention(queries, keys, values, self.mask)
        y = ops.reshape(ops.transpose(y, np.array([0, 2, 1, 3])), np.array([0, 0, shape.heads * shape.head_size]), True)
        return linear(y, weights, f"{block}.attn_output")

    def _turned(self, x: ov.Node, weights: Weights, name: str, num_heads: int) -> ov.Node:
        """Queries or keys in their heads, normed where the file has a norm for them, and turned by their positions."""
        order = self.family.rows(num_heads, self.shape, self.rotary.size)
        heads = self._split(linear(x, weights, name, order), num_heads)
        if f"{name}_norm.weight" in weights:
            heads = rms_norm(heads, weights.vector(f"{name}_norm.weight"), self.shape.epsilon)
        heads = ops.transpose(heads, np.array([0, 2, 1, 3]))
        return self.rotary.turn(heads, self.cos, self.sin, self.shape.head_size)

    def _split(self, x: ov.Node, num_heads: int) -> ov.Node:
        return ops.reshape(x, np.array([0, 0, num_heads, self.shape.head_size]), True)

    def _heads(self, x: ov.Node, num_heads: int) -> ov.Node:
        return ops.transpose(self._split(x, num_heads), np.array([0, 2, 1, 3]))

    def _remembered(self, x: ov.Node, name: str) -> ov.Node:
        """Earlier tokens' keys or values and those of `x` behind them; written back to the state."""
        shape = [-1, self.shape.kv_heads, -1, self.shape.head_size]
        info = VariableInfo()
        info.data_shape, info.data_type, info.variable_id = ov.PartialShape(shape), ov.Type.f32, name
        variable = Variable(info)
        sizes = ops.concat([self.batch, *(np.array([n]) for n in (shape[1], 0, shape[3]))], axis=0)
        past = ops.read_value(ops.broadcast(np.float32(0), sizes), variable)
        both = ops.concat([ops.gather(past, self.beams, np.int64(0)), x], axis=2)
        self.sinks.append(ops.assign(both, variable))
        return both

    def _shared(self, x: ov.Node) -> ov.Node:
        """Keys or values once for each head of the queries that share them."""
        times = self.shape.heads // self.shape.kv_heads
        if times == 1:
            return x
        copies = ops.broadcast(
            ops.unsqueeze(x, np.int64(2)), np.array([1, 1, times, 1, 1]), broadcast_spec="BIDIRECTIONAL"
        )
        return ops.reshape(copies, np.array([0, self.shape.heads, -1, self.shape.head_size]), True)


def visible(tokens: ov.Node, mask: ov.Node) -> ov.Node:
    """Each token sees what `mask` `[batch, keys]` leaves and what is not behind it: `[batch, 1, tokens, keys]`."""
    total = ops.gather(ops.shape_of(mask), np.int64(1), np.int64(0))
    past = ops.subtract(total, ops.gather(ops.shape_of(tokens), np.int64(1), np.int64(0)))
    keys = ops.range(np.int64(0), total, np.int64(1), "i64")
    places = ops.unsqueeze(ops.range(past, total, np.int64(1), "i64"), np.int64(1))
    seen = ops.logical_and(
        ops.unsqueeze(ops.less_equal(keys, places), np.int64(0)),
        ops.unsqueeze(ops.not_equal(mask, np.int64(0)), np.int64(1)),
    )
    return ops.unsqueeze(ops.select(seen, np.float32(0), np.float32(_HIDDEN)), np.int64(1))
