"""Read rows of a graph's matrices, dequantised from integers, scales and zero points as kernels do."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]

_NUMBERS = (
    *(ov.Type.u2, ov.Type.u4, ov.Type.i4, ov.Type.u8, ov.Type.i8, ov.Type.i32, ov.Type.i64),
    *(ov.Type.f16, ov.Type.bf16, ov.Type.f32),
)
_ARITHMETIC: dict[str, Callable[[Floats, Floats], Floats]] = {
    "Add": operator.add,
    "Subtract": operator.sub,
    "Multiply": operator.mul,
}


@dataclass(frozen=True, slots=True)
class Matrix:
    """A constant matrix that a graph multiplies with or looks up rows in; those of experts are one below the other."""

    rows: int
    columns: int
    node: Any  # openvino has no types

    def read(self, indices: Indices) -> Floats:
        """The rows at `indices`, `[rows, columns]`, computed in f32."""
        return _read(self.node, self.rows, indices)


def matrices(graph: Path) -> dict[str, Matrix]:
    """The matrices of a graph by node name; their data stay in the file until they are read."""
    found = {}
    for node in _weights(ov.Core().read_model(graph)):
        shape = node.get_output_partial_shape(0)
        if _is_readable(node) and shape.rank.get_length() in (2, 3):
            *heights, columns = (length.get_length() for length in shape)
            found[node.get_friendly_name()] = Matrix(prod(heights), columns, node)
    return found


def _weights(model: ov.Model) -> Iterator[Any]:
    for node in model.get_ops():
        port = {"MatMul": 1, "Gather": 0}.get(node.get_type_name())
        if port is not None:
            yield node.input_value(port).get_node()


def _is_readable(node: Any) -> bool:
    kind = node.get_type_name()
    if kind == "Constant":
        return node.get_element_type() in _NUMBERS
    known = kind in ("Convert", "Reshape") or kind in _ARITHMETIC
    return known and all(_is_readable(value.get_node()) for value in node.input_values())


def _read(node: Any, rows: int, indices: Indices) -> Floats:
    kind = node.get_type_name()
    if kind == "Constant":
        return _constant(node, rows, indices)
    first = _read(node.input_value(0).get_node(), rows, indices)
    if kind == "Convert":
        return first
    if kind == "Reshape":
        return first.reshape(len(indices), -1)
    return _ARITHMETIC[kind](first, _read(node.input_value(1).get_node(), rows, indices))


def _constant(node: Any, rows: int, indices: Indices) -> Floats:
    """Rows of a constant; the whole constant if it is broadcast over rows."""
    shape = tuple(node.get_output_shape(0))
    leading = next((count for count in range(1, len(shape)) if prod(shape[:count]) == rows), 0)
    if not leading:
        indices, rows = np.arange(1), 1
    size = prod(shape) // rows
    offsets = indices[:, None] * size + np.arange(size)
    return _numbers(node, offsets).reshape(len(indices), *shape[leading:])


def _numbers(node: Any, offsets: Indices) -> Floats:
    """The elements of a constant at flat offsets."""
    kind, data = node.get_element_type(), node.data.reshape(-1)
    if kind.bitwidth < 8:  # several to a byte, the first in the lowest bits
        in_byte = 8 // kind.bitwidth
        shifts = (offsets % in_byte * kind.bitwidth).astype(np.uint8)
        data = data.view(np.uint8)[offsets // in_byte] >> shifts & (1 << kind.bitwidth) - 1
        return np.asarray((data.astype(np.int8) ^ 8) - 8 if kind == ov.Type.i4 else data, np.float32)
    data = data[offsets]
    if kind == ov.Type.bf16:  # numpy has no bf16: openvino returns the bits as another type
        data = (data.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    return np.asarray(data, np.float32)
