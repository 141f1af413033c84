"""Attention with stateful keys and values, in the form that OpenVINO transforms to a paged cache (model.py)."""

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
"""The score of a masked key. Not infinity: the softmax of a fully masked row would be NaN."""


@dataclass(frozen=True)
class Attention:
    """The inputs and parameters that the attention of all layers shares."""

    shape: Shape
    family: Family
    rotary: Rotary
    cos: ov.Node
    sin: ov.Node
    mask: ov.Node
    """`[batch, 1, tokens, keys]`, added to the scores."""
    batch: ov.Node
    """`[1]`: the batch size."""
    beams: ov.Node
    sinks: list[ov.Node] = field(default_factory=list)
    """The nodes that assign the states."""

    def of(self, x: ov.Node, weights: Weights, layer: int) -> ov.Node:
        """Attention of one layer over `x` `[batch, tokens, width]`."""
        block, shape = f"blk.{layer}", self.shape
        queries = self._rotated(x, weights, f"{block}.attn_q", shape.heads)
        keys = self._rotated(x, weights, f"{block}.attn_k", shape.kv_heads)
        file_order = np.arange(shape.kv_heads * shape.head_size)
        values = self._heads(linear(x, weights, f"{block}.attn_v", file_order), shape.kv_heads)
        keys = self._repeated(self._with_past(keys, f"past_key_values.{layer}.key"))
        values = self._repeated(self._with_past(values, f"past_key_values.{layer}.value"))
        y = ops.scaled_dot_product_attention(queries, keys, values, self.mask)
        y = ops.reshape(ops.transpose(y, np.array([0, 2, 1, 3])), np.array([0, 0, shape.heads * shape.head_size]), True)
        return linear(y, weights, f"{block}.attn_output")

    def _rotated(self, x: ov.Node, weights: Weights, name: str, num_heads: int) -> ov.Node:
        """Queries or keys split into heads, normalised if the file has a norm for them, and rotated by position."""
        order = self.family.rows(num_heads, self.shape, self.rotary.size)
        heads = self._split(linear(x, weights, name, order), num_heads)
        if f"{name}_norm.weight" in weights:
            heads = rms_norm(heads, weights.vector(f"{name}_norm.weight"), self.shape.epsilon)
        heads = ops.transpose(heads, np.array([0, 2, 1, 3]))
        return self.rotary.rotate(heads, self.cos, self.sin, self.shape.head_size)

    def _split(self, x: ov.Node, num_heads: int) -> ov.Node:
        return ops.reshape(x, np.array([0, 0, num_heads, self.shape.head_size]), True)

    def _heads(self, x: ov.Node, num_heads: int) -> ov.Node:
        return ops.transpose(self._split(x, num_heads), np.array([0, 2, 1, 3]))

    def _with_past(self, x: ov.Node, name: str) -> ov.Node:
        """Keys or values of earlier tokens followed by those of `x`; written back to the state."""
        shape = [-1, self.shape.kv_heads, -1, self.shape.head_size]
        info = VariableInfo()
        info.data_shape, info.data_type, info.variable_id = ov.PartialShape(shape), ov.Type.f32, name
        variable = Variable(info)
        sizes = ops.concat([self.batch, *(np.array([n]) for n in (shape[1], 0, shape[3]))], axis=0)
        past = ops.read_value(ops.broadcast(np.float32(0), sizes), variable)
        both = ops.concat([ops.gather(past, self.beams, np.int64(0)), x], axis=2)
        self.sinks.append(ops.assign(both, variable))
        return both

    def _repeated(self, x: ov.Node) -> ov.Node:
        """Keys or values repeated for the query heads that share them (grouped-query attention)."""
        times = self.shape.heads // self.shape.kv_heads
        if times == 1:
            return x
        copies = ops.broadcast(
            ops.unsqueeze(x, np.int64(2)), np.array([1, 1, times, 1, 1]), broadcast_spec="BIDIRECTIONAL"
        )
        return ops.reshape(copies, np.array([0, self.shape.heads, -1, self.shape.head_size]), True)


def causal_mask(tokens: ov.Node, mask: ov.Node) -> ov.Node:
    """The causal mask combined with `mask` `[batch, keys]`, to be added to scores: `[batch, 1, tokens, keys]`."""
    total = ops.gather(ops.shape_of(mask), np.int64(1), np.int64(0))
    past = ops.subtract(total, ops.gather(ops.shape_of(tokens), np.int64(1), np.int64(0)))
    keys = ops.range(np.int64(0), total, np.int64(1), "i64")
    positions = ops.unsqueeze(ops.range(past, total, np.int64(1), "i64"), np.int64(1))
    seen = ops.logical_and(
        ops.unsqueeze(ops.less_equal(keys, positions), np.int64(0)),
        ops.unsqueeze(ops.not_equal(mask, np.int64(0)), np.int64(1)),
    )
    return ops.unsqueeze(ops.select(seen, np.float32(0), np.float32(_HIDDEN)), np.int64(1))
