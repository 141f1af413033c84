"""Attention masks: causal ones, and those of sliding windows."""

from __future__ import annotations

import numpy as np
import openvino as ov
from openvino import opset13 as ops

_HIDDEN = -65504.0
"""The score of a masked key. Not infinity: the softmax of a fully masked row would be NaN."""


def causal_mask(tokens: ov.Node, mask: ov.Node) -> ov.Node:
    """The causal mask combined with `mask` `[batch, keys]`, to be added to scores: `[batch, 1, tokens, keys]`."""
    queries, keys = _positions(tokens, mask)
    seen = ops.logical_and(
        ops.unsqueeze(ops.less_equal(keys, queries), np.int64(0)),
        ops.unsqueeze(ops.not_equal(mask, np.int64(0)), np.int64(1)),
    )
    return ops.unsqueeze(ops.select(seen, np.float32(0), np.float32(_HIDDEN)), np.int64(1))


def sliding_mask(tokens: ov.Node, mask: ov.Node, window: int) -> ov.Node:
    """The same with a window: each token sees itself and the `window - 1` tokens before it.

    Operations and their order are those by which OpenVINO finds the window when it changes attention to a paged cache,
    so some have no effect.
    """
    queries, keys = _positions(tokens, mask)
    near = ops.greater(keys, ops.add(queries, np.int64(-window)))
    seen = ops.bitwise_and(ops.bitwise_and(np.array(True), near), ops.less_equal(keys, queries))
    known = ops.unsqueeze(ops.unsqueeze(ops.not_equal(mask, np.int64(0)), np.int64(1)), np.int64(1))
    seen = ops.bitwise_and(ops.bitwise_and(np.array(True), seen), known)
    count = ops.gather(ops.shape_of(mask), np.array([1]), np.int64(0))
    seen = ops.broadcast(seen, ops.shape_of(seen))
    values = ops.select(seen, np.float32(0), np.float32(_HIDDEN))
    return ops.slice(values, np.array([0]), count, np.array([1]), np.array([3]))


def _positions(tokens: ov.Node, mask: ov.Node) -> tuple[ov.Node, ov.Node]:
    """The positions of the tokens `[tokens, 1]` and of the keys `[keys]`."""
    total = ops.gather(ops.shape_of(mask), np.int64(1), np.int64(0))
    past = ops.subtract(total, ops.gather(ops.shape_of(tokens), np.int64(1), np.int64(0)))
    queries = ops.unsqueeze(ops.range(past, total, np.int64(1), "i64"), np.int64(1))
    return queries, ops.range(np.int64(0), total, np.int64(1), "i64")
