"""Forms of a graph that stand for an instruction, and forms that look like them but compute something else."""

from __future__ import annotations

from typing import Any

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

from crossette.engines.openvino.gguf.parts import rms_norm
from crossette.engines.openvino.gguf.rotary import Rotary
from crossette.engines.openvino.kernels.patterns import Unknown, columns_of, rms_norm_of, rotation_of, split_of

HEADS, COLUMNS = 4, 32


def floats(*shape: int) -> Any:
    return ops.parameter(list(shape), np.float32)


@pytest.mark.parametrize("sizes", [[48, 32, 16], [-1, 32, 16], [48, -1, 16], [48, 32, -1]])
def test_columns_that_are_taken_apart_begin_where_the_ones_before_end(sizes: list[int]) -> None:
    """One of the sizes may be left out."""
    parts = ops.variadic_split(floats(-1, 1, 96), np.int64(-1), np.array(sizes)).outputs()
    assert [split_of(part).begin for part in parts] == [0, 48, 80]


def rotated(x: Any, columns: int) -> Any:
    """All of these columns, by angles of each token."""
    cos, sin = floats(-1, 1, 1, columns), floats(-1, 1, 1, columns)
    return Rotary(np.ones(columns // 2, np.float32)).rotate(x, cos, sin, columns)


@pytest.mark.parametrize(("axis", "known"), [(3, True), (-1, True), (1, False)])
def test_the_first_columns_of_all_heads_are_rotated_not_all_columns_of_the_first_heads(axis: int, known: bool) -> None:
    x = floats(-1, HEADS, 1, COLUMNS)
    first, rest = ops.variadic_split(x, np.int64(axis), np.array([2, -1])).outputs()
    both = ops.concat([rotated(first, 2 if known else COLUMNS), rest], axis=axis)
    found = rotation_of(both.output(0))
    assert (found is not None) == known
    if found is not None:
        assert (found.columns, found.rotated) == (COLUMNS, 2)


def test_a_norm_has_a_known_number_of_columns() -> None:
    weights = np.ones(1, np.float32)
    assert rms_norm_of(rms_norm(floats(-1, 1), weights, 1e-5).output(0)) is not None
    assert rms_norm_of(rms_norm(floats(-1, -1), weights, 1e-5).output(0)) is None


def test_a_norm_divides_each_row_by_its_own_root() -> None:
    """Without its last axis the root of one row would belong to a column."""
    x = floats(-1, COLUMNS)
    squares = ops.reduce_mean(ops.power(x, np.float32(2)), np.array([-1]), keep_dims=False)
    inverse = ops.divide(np.float32(1), ops.sqrt(ops.add(squares, np.float32(1e-5))))
    scaled = ops.multiply(ops.multiply(x, inverse), ops.constant(np.ones(COLUMNS, np.float32)))
    assert rms_norm_of(scaled.output(0)) is None


@pytest.mark.parametrize("shape", [[-1, HEADS, COLUMNS], [1, -1, HEADS, 1, COLUMNS], [-1, HEADS * COLUMNS]])
def test_numbers_of_a_token_are_adjacent(shape: list[int]) -> None:
    assert columns_of(floats(*shape).output(0)) == HEADS * COLUMNS


@pytest.mark.parametrize("shape", [[HEADS, -1, COLUMNS], [HEADS * COLUMNS, -1], [-1, -1, COLUMNS], [1, COLUMNS], []])
def test_outputs_without_a_row_for_each_token_are_unknown(shape: list[int]) -> None:
    with pytest.raises(Unknown):
        columns_of(floats(*shape).output(0))


def test_an_output_of_unknown_rank_is_unknown() -> None:
    with pytest.raises(Unknown):
        columns_of(ops.parameter(ov.PartialShape.dynamic(), np.float32).output(0))
