"""Rows read from a graph's matrices, in every storage form, equal the weights that kernels compute with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import crossette.engines.openvino  # noqa: F401  # imports openvino without its converters
from crossette.engines.openvino.gguf.rows import matrices

pytestmark = pytest.mark.model

ROWS, GROUPS, SIZE = 6, 3, 4
Floats = npt.NDArray[np.float32]


def numbers(low: int, high: int, *shape: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng(sum(shape)).integers(low, high, shape)


def constant(values: npt.NDArray[Any], kind: str) -> Any:  # Any: openvino has no types
    """A constant of a type that numpy may not have."""
    import openvino as ov

    element = getattr(ov.Type, kind)
    if element.bitwidth < 8:
        in_byte = 8 // element.bitwidth
        flat = np.append(values, np.zeros(-values.size % in_byte, values.dtype)).reshape(-1, in_byte)
        bits = (flat & (1 << element.bitwidth) - 1) << element.bitwidth * np.arange(in_byte)
        data: npt.NDArray[Any] = bits.sum(-1).astype(np.uint8)
    elif kind == "bf16":
        data = (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16).view(np.float16)
    else:
        data = values.astype(element.to_dtype())
    return ov.op.Constant(ov.Tensor(data, ov.Shape(values.shape), element), shared_memory=False)


def saved(weight: Any, tmp_path: Path) -> Path:
    """Save a graph that multiplies with the weight."""
    import openvino as ov
    from openvino import opset13 as ops

    x = ops.parameter([-1, GROUPS * SIZE], np.float32)
    weight = ops.convert(weight, "f32")
    weight.set_friendly_name("blk.0.ffn_up.weight")
    product = ops.matmul(x, weight, False, True)
    ov.save_model(ov.Model([product], [x]), tmp_path / "graph.xml", compress_to_fp16=False)
    return tmp_path / "graph.xml"


def grouped(kind: str, zeros: Any, integers: npt.NDArray[np.int64], scale: Floats) -> Any:
    from openvino import opset13 as ops

    weight = ops.convert(constant(integers, kind), "f16")
    if zeros is not None:
        weight = ops.subtract(weight, zeros)
    weight = ops.multiply(weight, constant(scale, "f16"))
    return ops.reshape(weight, np.array([ROWS, GROUPS * SIZE]), False)


def zero_points(kind: str, values: npt.NDArray[Any]) -> Any:
    from openvino import opset13 as ops

    found = constant(values, kind)
    return found if kind == "f16" else ops.convert(found, "f16")


SCALE = (numbers(1, 60, ROWS, GROUPS, 1) / 64).astype(np.float32)


@pytest.mark.parametrize("indices", [[0], [5, 2, 2], [0, 1, 2, 3, 4, 5]])
@pytest.mark.parametrize(
    ("kind", "low", "high", "zero_kind", "zero"),
    [
        ("u4", 0, 16, "u4", numbers(0, 16, ROWS, GROUPS, 1)),  # an odd number of nibbles in a row
        ("u4", 0, 16, "f16", numbers(-99, 99, ROWS, GROUPS, 1) / 8),
        ("u4", 0, 16, "f16", np.full((1, 1, 1), 8.0)),
        ("i4", -8, 8, None, None),
        ("u2", 0, 4, "f16", numbers(-99, 99, ROWS, GROUPS, 1) / 8),
        ("u8", 0, 256, "u8", numbers(0, 256, ROWS, GROUPS, 1)),
        ("i8", -128, 128, None, None),
    ],
)
def test_integers_in_groups(
    tmp_path: Path, kind: str, low: int, high: int, zero_kind: str | None, zero: Any, indices: list[int]
) -> None:
    integers = numbers(low, high, ROWS, GROUPS, SIZE)
    zeros = None if zero_kind is None else zero_points(zero_kind, zero)
    graph = saved(grouped(kind, zeros, integers, SCALE), tmp_path)
    wanted = ((integers - (0 if zero is None else zero)) * SCALE).reshape(ROWS, -1)

    matrix = matrices(graph)["blk.0.ffn_up.weight"]

    assert (matrix.rows, matrix.columns) == wanted.shape
    np.testing.assert_array_equal(matrix.read(np.array(indices)), wanted[indices])


@pytest.mark.parametrize("kind", ["f16", "bf16", "f32"])
def test_floats(tmp_path: Path, kind: str) -> None:
    weight = numbers(-100, 100, ROWS, GROUPS * SIZE) / 8.0

    matrix = matrices(saved(constant(weight, kind), tmp_path))["blk.0.ffn_up.weight"]

    np.testing.assert_array_equal(matrix.read(np.array([4, 1])), weight[[4, 1]])


def test_a_matrix_with_unsupported_nodes_is_left_out(tmp_path: Path) -> None:
    from openvino import opset13 as ops

    unknown: Callable[[Any], Any] = ops.exp
    graph = saved(unknown(constant(numbers(0, 9, ROWS, GROUPS * SIZE), "f32")), tmp_path)

    assert matrices(graph) == {}
