"""Attention with stateful keys and values, in the form that OpenVINO transforms to a paged cache (model.py)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import openvino as ov
from openvino import opset13 as ops
from openvino.op.util import Variable, VariableInfo
from openvino.utils.node_factory import NodeFactory

from crossette.engines.openvino.gguf.families import Family
from crossette.engines.openvino.gguf.layers import Layer
from crossette.engines.openvino.gguf.parts import linear, rms_norm
from crossette.engines.openvino.gguf.rotary import Rotary
from crossette.engines.openvino.gguf.shape import Scales, Shape
from crossette.engines.openvino.gguf.weights import Weights


@dataclass(frozen=True)
class Turn:
    """A rotation of queries and keys."""

    rotary: Rotary
    cos: ov.Node
    sin: ov.Node


@dataclass(frozen=True)
class Attention:
    """The inputs and parameters that the attention of all layers shares."""

    shape: Shape
    family: Family
    scales: Scales
    turns: Mapping[bool, Turn]
    """Of layers with a sliding window, and of the others."""
    masks: Mapping[int | None, ov.Node]
    """By window: `[batch, 1, tokens, keys]`, added to the scores."""
    positions: ov.Node
    """`[batch, tokens]`."""
    batch: ov.Node
    """`[1]`: the batch size."""
    beams: ov.Node
    assignments: list[ov.Node] = field(default_factory=list)
    """The nodes that assign the states."""

    def of(self, x: ov.Node, weights: Weights, index: int, layer: Layer) -> ov.Node:
        """Attention of one layer over `x` `[batch, tokens, width]`."""
        block, shape = f"blk.{index}", self.shape
        queries, keys, values = self._projected(x, weights, block)
        turn = self.turns[layer.window is not None]
        if layer.rotated:
            queries = turn.rotary.rotate(queries, turn.cos, turn.sin, shape.head_size)
            keys = turn.rotary.rotate(keys, turn.cos, turn.sin, shape.head_size)
        queries = self._warmed(queries)
        keys = self._repeated(self._with_past(keys, f"past_key_values.{index}.key"))
        values = self._repeated(self._with_past(values, f"past_key_values.{index}.value"))
        y = self._attended([queries, keys, values, self.masks[layer.window]], weights, f"{block}.attn_sinks.weight")
        y = ops.reshape(ops.transpose(y, np.array([0, 2, 1, 3])), np.array([0, 0, shape.heads * shape.head_size]), True)
        return linear(y, weights, f"{block}.attn_output")

    def _projected(self, x: ov.Node, weights: Weights, block: str) -> tuple[ov.Node, ov.Node, ov.Node]:
        """Queries, keys and values `[batch, heads, tokens, head size]`, of three matrices or of one."""
        heads, kv_heads = self.shape.heads, self.shape.kv_heads
        if f"{block}.attn_qkv.weight" in weights:
            sizes = np.array([heads, kv_heads, kv_heads]) * self.shape.head_size
            parts = ops.variadic_split(linear(x, weights, f"{block}.attn_qkv"), np.int64(-1), sizes).outputs()
        else:
            size = self.turns[False].rotary.size
            orders = [self.family.rows(count, self.shape, size) for count in (heads, kv_heads)]
            orders.append(np.arange(kv_heads * self.shape.head_size))
            names = (f"{block}.attn_q", f"{block}.attn_k", f"{block}.attn_v")
            parts = [linear(x, weights, name, order) for name, order in zip(names, orders, strict=True)]
        return (
            self._heads(self._normed(parts[0], weights, f"{block}.attn_q_norm"), heads),
            self._heads(self._normed(parts[1], weights, f"{block}.attn_k_norm"), kv_heads),
            self._heads(parts[2], kv_heads),
        )

    def _normed(self, x: ov.Node, weights: Weights, name: str) -> ov.Node:
        """Queries or keys, normalised if the file has a norm for them: each head, or all heads together."""
        if f"{name}.weight" not in weights:
            return x
        norm = weights.vector(f"{name}.weight")
        if len(norm) != self.shape.head_size:
            return rms_norm(x, norm, self.shape.epsilon)
        heads = ops.reshape(x, np.array([0, 0, -1, self.shape.head_size]), True)
        return rms_norm(heads, norm, self.shape.epsilon)

    def _heads(self, x: ov.Node, count: int) -> ov.Node:
        split = ops.reshape(x, np.array([0, 0, count, self.shape.head_size]), True)
        return ops.transpose(split, np.array([0, 2, 1, 3]))

    def _warmed(self, queries: ov.Node) -> ov.Node:
        """Queries scaled by position, if the model does that."""
        if self.scales.temperature is None:
            return queries
        factor, length = self.scales.temperature
        steps = ops.floor(ops.divide(ops.convert(self.positions, np.float32), np.float32(length)))
        scale = ops.add(ops.multiply(ops.log(ops.add(steps, np.float32(1))), np.float32(factor)), np.float32(1))
        return ops.multiply(queries, ops.unsqueeze(scale, np.array([1, 3])))

    def _attended(self, inputs: list[ov.Node], weights: Weights, sinks: str) -> ov.Node:
        """Attention of queries, keys, values and a mask; `sinks` names scores of a key without a value, one a head."""
        scale = self.scales.attention
        if scale is None and self.shape.layers == self.family.wide_attention_layers:
            scale = (self.shape.width / self.shape.heads) ** -0.5
        if sinks in weights:
            scale = self.shape.head_size**-0.5 if scale is None else scale
            inputs = [*inputs, ops.constant(np.float32(scale))]
            inputs.append(ops.constant(weights.vector(sinks).reshape(1, -1, 1, 1)))
        elif scale is not None:
            inputs = [*inputs, ops.constant(np.float32(scale))]
        # Not by the function of opset13, which takes no sinks.
        return NodeFactory("opset13").create("ScaledDotProductAttention", inputs, {"causal": False})

    def _with_past(self, x: ov.Node, name: str) -> ov.Node:
        """Keys or values of earlier tokens followed by those of `x`; written back to the state."""
        shape = [-1, self.shape.kv_heads, -1, self.shape.head_size]
        info = VariableInfo()
        info.data_shape, info.data_type, info.variable_id = ov.PartialShape(shape), ov.Type.f32, name
        variable = Variable(info)
        sizes = ops.concat([self.batch, *(np.array([n]) for n in (shape[1], 0, shape[3]))], axis=0)
        past = ops.read_value(ops.broadcast(np.float32(0), sizes), variable)
        both = ops.concat([ops.gather(past, self.beams, np.int64(0)), x], axis=2)
        self.assignments.append(ops.assign(both, variable))
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
