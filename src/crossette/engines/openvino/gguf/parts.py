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


def layer_norm(x: ov.Node, weight: Floats, bias: Floats, epsilon: float) -> ov.Node:
    """`x` less its mean, divided by its standard deviation, times `weight`, plus `bias`; along the last axis."""
    normed = ops.mvn(x, np.array([-1]), normalize_variance=True, eps=epsilon, eps_mode="inside_sqrt")
    return ops.add(ops.multiply(normed, ops.constant(weight)), ops.constant(bias))


def product(x: ov.Node, matrix: ov.Node) -> ov.Node:
    """`x` times the transposed matrix."""
    return ops.matmul(x, matrix, transpose_a=False, transpose_b=True)


def linear(x: ov.Node, weights: Weights, name: str, order: Order | None = None) -> ov.Node:
    """`x` times the transposed matrix of that name, plus its bias if the file has one; `order` permutes the result."""
    y = product(x, weights.matrix(f"{name}.weight", order))
    if f"{name}.bias" not in weights:
        return y
    return ops.add(y, ops.constant(weights.vector(f"{name}.bias", order)))


def activated(x: ov.Node, *, gelu: bool) -> ov.Node:
    """GELU in its tanh form, or SiLU."""
    return ops.gelu(x, "tanh") if gelu else ops.swish(x)


def mlp(x: ov.Node, weights: Weights, block: str, suffix: str = "", *, gelu: bool = False) -> ov.Node:
    """An MLP whose up projection is gated, by a matrix of its own or by the first half of the rows of one, or not.

    `suffix` belongs to the names of its tensors.
    """
    names = tuple(f"{block}.ffn_{part}{suffix}" for part in ("gate", "up", "down"))
    gate, up, down = names
    hidden = linear(x, weights, up)
    if f"{gate}.weight" in weights:
        hidden = ops.multiply(activated(linear(x, weights, gate), gelu=gelu), hidden)
    elif (columns := weights.shape(f"{down}.weight", 2)[0]) * 2 == weights.shape(f"{up}.weight", 2)[1]:
        first, second = ops.variadic_split(hidden, np.int64(-1), np.array([columns, columns])).outputs()
        hidden = ops.multiply(activated(first, gelu=gelu), second)
    else:
        hidden = activated(hidden, gelu=gelu)
    return linear(hidden, weights, down)
