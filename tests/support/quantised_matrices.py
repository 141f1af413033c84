"""Random quantised matrices, as nodes of a graph and as weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import openvino as ov
from openvino import opset13 as ops

from crossette.engines.openvino.gguf.weights import pack

Floats = npt.NDArray[np.float32]

TYPES = {(4, False): ov.Type.u4, (4, True): ov.Type.i4, (8, False): ov.Type.u8, (8, True): ov.Type.i8}
SPAN = 256
"""Columns with the same factor."""


class Layout(NamedTuple):
    """The form of a quantised matrix; zero points are those of "each" group, "one" for all, or "none"."""

    outputs: int
    columns: int
    group: int
    bits: int
    is_signed: bool
    zeros: str
    numbers: str = "floats"
    """What is enough for scales and for what belongs to a zero: "halves" of 16 bits, as in files of Q4_0, Q4_1 and
    Q8_0, or "factors" of 16 bits times integers of 8, as in those of K-quants."""
    used: int = 8
    """Bits that integers of 8 bits use: formats of 5 and 6 bits are stored in 8."""


class Matrix:
    """A random matrix: its node, and its weights without rounding."""

    def __init__(self, layout: Layout, seed: int = 0, scale: float = 1) -> None:
        rng = np.random.default_rng(seed)
        groups = (layout.outputs, layout.columns // layout.group)
        used = min(layout.bits, layout.used)
        lowest = -(1 << used - 1) if layout.is_signed else 0
        integers = rng.integers(lowest, lowest + (1 << used), (*groups, layout.group))
        scales = self._numbers(layout, rng, lambda shape: (rng.random(shape) + 0.5) * scale)
        zeros = self._zeros(layout, rng, scales, scale)
        self.node = self._graph(layout, integers, scales, zeros)
        shift = 0.0 if zeros is None else zeros.astype(np.float64)
        shape = (layout.outputs, layout.columns)
        self.weights = ((integers - shift) * scales).reshape(shape)
        self.sizes = ((np.abs(integers - lowest) + np.abs(shift - lowest)) * scales).reshape(shape)
        """Of the numbers that are added, which rounding is relative to."""

    @staticmethod
    def _numbers(layout: Layout, rng: np.random.Generator, random: Callable[[tuple[int, ...]], Any]) -> Floats:
        """A number for each group, `[outputs, groups, 1]`, of the form that is enough."""
        count = layout.columns // layout.group
        if layout.numbers != "factors":
            kind = np.float16 if layout.numbers == "halves" else np.float32
            values: Floats = random((layout.outputs, count, 1)).astype(kind).astype(np.float32)
            return values
        spans = -(-layout.columns // SPAN)
        integers = rng.integers(0, 128, (layout.outputs, spans, SPAN // layout.group))
        factors = random((layout.outputs, spans, 1)).astype(np.float16).astype(np.float32) / 64
        products: Floats = (integers * factors).reshape(layout.outputs, -1, 1)[:, :count].astype(np.float32)
        return products

    @classmethod
    def _zeros(cls, layout: Layout, rng: np.random.Generator, scales: Floats, scale: float) -> Floats | None:
        if layout.zeros == "none":
            return None
        if layout.zeros == "one":
            return np.full((1, 1, 1), rng.random() if layout.numbers == "floats" else 5.0, np.float32)
        if layout.numbers == "floats":
            return (rng.random(scales.shape) * (1 << layout.bits)).astype(np.float32)
        numbers = cls._numbers(layout, rng, lambda shape: rng.random(shape) * (scale * (1 << layout.bits)))
        zeros: Floats = np.divide(numbers, scales, out=np.zeros_like(scales), where=scales > 0)
        return zeros

    @staticmethod
    def _graph(layout: Layout, integers: npt.NDArray[np.int64], scales: Floats, zeros: Floats | None) -> ov.Node:
        data = pack(integers.astype(np.uint8), layout.bits)
        shape = ov.Shape(integers.shape)
        kind = TYPES[layout.bits, layout.is_signed]
        node = ops.convert(ov.op.Constant(ov.Tensor(data, shape, kind), shared_memory=False), np.float32)
        if zeros is not None:
            node = ops.subtract(node, ops.constant(zeros))
        node = ops.multiply(node, ops.constant(scales))
        return ops.reshape(node, np.array([layout.outputs, layout.columns]), special_zero=False)
