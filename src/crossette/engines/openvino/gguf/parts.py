"""The position-independent parts of a transformer, as OpenVINO nodes.

RMS norms have the form that the CPU plug-in fuses into one node.
"""

from __future__ import annotations

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from crossette.engines.openvino.gguf.blocks import Floats
from crossette.engines.openvino.gguf.weights import Order, Weights


def rms_norm(x: ov.Node, weight: Floats, epsilon: float) -> ov.Node:
    """`x` divided by its root mean square, times `weight`; along the last axis."""
    squares = ops.reduce_mean(ops.power(x, np.float32(2)), np.array([-1]), keep_dims=True)
    root = ops.sqrt(ops.add(squares, np.float32(epsilon)))
    return ops.multiply(ops.multiply(x, ops.divide(np.float32(1), root)), ops.constant(weight))


def product(x: ov.Node, matrix: ov.Node) -> ov.Node:
    """`x` times the transposed matrix."""
    return ops.matmul(x, matrix, transpose_a=False, transpose_b=True)


def linear(x: ov.Node, weights: Weights, name: str, order: Order | None = None) -> ov.Node:
    """`x` times the transposed matrix of that name, plus its bias if the file has one; `order` permutes the result."""
    y = product(x, weights.matrix(f"{name}.weight", order))
    if f"{name}.bias" not in weights:
        return y
    return ops.add(y, ops.constant(weights.vector(f"{name}.bias", order)))


def gated_mlp(x: ov.Node, weights: Weights, block: str) -> ov.Node:
    gate = ops.swish(linear(x, weights, f"{block}.ffn_gate"))
    return linear(ops.multiply(gate, linear(x, weights, f"{block}.ffn_up")), weights, f"{block}.ffn_down")
