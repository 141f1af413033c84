"""Mixtures of experts: MLPs of which each token uses a few.

The graph multiplies all tokens with all experts, and adds the results up by weights, most of them 0. The CPU plug-in
(on x86) recognises exactly this form, and computes it as products of each token with the matrices of its own experts:
other experts' weights are not read, and no token's result depends on others (checked by tests/engines/openvino).
"""

from __future__ import annotations

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from crossette.engines.openvino.gguf.families import Family
from crossette.engines.openvino.gguf.parts import linear, mlp, product
from crossette.engines.openvino.gguf.weights import Weights

_LIMIT, _BETA = 7.0, 1.702
"""Of gpt-oss's experts: the bound of what gates and up projections may be, and the steepness of the gate's sigmoid."""

_END = (1 << 31) - 1


def mixture(x: ov.Node, weights: Weights, block: str, family: Family, used: int) -> ov.Node:
    """The experts of a layer applied to `x` `[batch, tokens, width]`, and its shared expert if it has one."""
    columns, _, experts = weights.shape(f"{block}.ffn_up_exps.weight", 3)
    tokens = ops.reshape(x, np.array([-1, columns]), special_zero=False)
    shares = _shares(tokens, weights, block, family, used)
    copies = ops.reshape(ops.tile(tokens, np.array([experts, 1])), np.array([experts, -1, columns]), special_zero=False)
    y = _clamped(copies, weights, block) if family.clamped_experts else _gated(copies, weights, block)
    y = ops.reshape(y, np.array([experts, 0, columns]), special_zero=True)
    y = ops.reduce_sum(ops.multiply(y, shares), np.array([0]), keep_dims=False)
    y = ops.reshape(y, ops.shape_of(x), special_zero=False)
    return ops.add(y, _shared(x, weights, block)) if f"{block}.ffn_up_shexp.weight" in weights else y


def _shares(tokens: ov.Node, weights: Weights, block: str, family: Family, used: int) -> ov.Node:
    """The weight of each expert for each token `[experts, tokens, 1]`: 0 for those that are not chosen."""
    scores = linear(tokens, weights, f"{block}.ffn_gate_inp")
    experts = weights.shape(f"{block}.ffn_gate_inp.weight", 2)[1]
    ranked = scores if family.renormalised else ops.softmax(scores, 1)
    chosen, indices = ops.topk(ranked, np.int64(used), 1, "max", "value", index_element_type="i32").outputs()
    values = ops.softmax(chosen, 1) if family.renormalised else chosen
    nothing = ops.broadcast(np.float32(0), ops.shape_of(scores))
    spread = ops.transpose(ops.scatter_elements_update(nothing, indices, values, np.int64(1)), np.array([1, 0]))
    return ops.unsqueeze(ops.reshape(spread, np.array([experts, 0]), special_zero=True), np.int64(2))


def _gated(copies: ov.Node, weights: Weights, block: str) -> ov.Node:
    gate = product(copies, weights.experts(f"{block}.ffn_gate_exps.weight"))
    # Not swish of opset13: its second input, the default, is not part of the form that the plug-in recognises.
    gate = ops.multiply(gate, ops.sigmoid(gate))
    hidden = ops.multiply(gate, product(copies, weights.experts(f"{block}.ffn_up_exps.weight")))
    return product(hidden, weights.experts(f"{block}.ffn_down_exps.weight"))


def _clamped(copies: ov.Node, weights: Weights, block: str) -> ov.Node:
    """gpt-oss: gates and up projections are one matrix with a bias; both are clamped, the latter are raised by 1.

    Their rows take turns: two halves would be split by a node that is not part of the form.
    """
    gate, up, down = (f"{block}.ffn_{part}_exps" for part in ("gate", "up", "down"))
    both = product(copies, weights.experts(f"{gate}.weight", f"{up}.weight"))
    both = ops.add(both, ops.constant(weights.expert_biases(f"{gate}.bias", f"{up}.bias")))
    second = ops.add(ops.clamp(_every_second(both, 1), -_LIMIT, _LIMIT), np.float32(1))
    first = ops.swish(ops.minimum(_every_second(both, 0), np.float32(_LIMIT)), np.float32(_BETA))
    y = product(ops.multiply(second, first), weights.experts(f"{down}.weight"))
    return ops.add(y, ops.constant(weights.expert_biases(f"{down}.bias")))


def _every_second(x: ov.Node, start: int) -> ov.Node:
    return ops.slice(x, np.array([start]), np.array([_END]), np.array([2]), np.array([2]))


def _shared(x: ov.Node, weights: Weights, block: str) -> ov.Node:
    """The expert that computes every token, weighted by a gate if it has one."""
    y = mlp(x, weights, block, "_shexp")
    name = f"{block}.ffn_gate_inp_shexp.weight"
    if name not in weights:
        return y
    return ops.multiply(y, ops.sigmoid(product(x, ops.constant(weights.vector(name).reshape(1, -1)))))
