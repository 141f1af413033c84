"""Products with quantised matrices are right, and a row's numbers do not depend on the other rows."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import openvino as ov
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openvino import opset13 as ops

from crossette.engines.openvino.gguf.weights import pack
from crossette.engines.openvino.matrices.build import NoCompiler, build
from crossette.engines.openvino.matrices.kernels import Kernels, open_kernels
from crossette.engines.openvino.matrices.replace import OPERATION, replace_products
from crossette.folders import cache_folder

pytestmark = pytest.mark.model

Floats = npt.NDArray[np.float32]

TYPES = {(4, False): ov.Type.u4, (4, True): ov.Type.i4, (8, False): ov.Type.u8, (8, True): ov.Type.i8}
PROPERTIES = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 2, "NUM_STREAMS": 1}
WORD_LENGTHS = {"native": (), "avx2": ("-mno-avx512f",)}


class Layout(NamedTuple):
    """The form of a quantised matrix; zero points are those of "each" group, "one" for all, or "none"."""

    outputs: int
    columns: int
    group: int
    bits: int
    is_signed: bool
    zeros: str


LAYOUTS = [
    Layout(outputs, columns, group, bits, is_signed, zeros)
    for bits, is_signed in TYPES
    for zeros in ("none", "one", "each")
    for outputs, columns, group in [(1, 32, 32), (47, 576, 16), (49, 16, 16), (200, 544, 32)]
]


@pytest.fixture(scope="module", params=WORD_LENGTHS)
def kernels(request: pytest.FixtureRequest) -> Kernels:
    """The kernels for this CPU, and those that it would have without AVX-512."""
    try:
        return open_kernels(build(cache_folder() / "kernels", WORD_LENGTHS[request.param]))
    except NoCompiler as error:
        pytest.skip(str(error))


class Matrix:
    """A random matrix: its node, and its weights without rounding."""

    def __init__(self, layout: Layout, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        groups = (layout.outputs, layout.columns // layout.group)
        lowest = -(1 << layout.bits - 1) if layout.is_signed else 0
        integers = rng.integers(lowest, lowest + (1 << layout.bits), (*groups, layout.group))
        scales = (rng.random((*groups, 1)) + 0.5).astype(np.float32)
        zeros = self._zeros(layout, rng, groups)
        self.node = self._graph(layout, integers, scales, zeros)
        shift = 0.0 if zeros is None else zeros.astype(np.float64)
        shape = (layout.outputs, layout.columns)
        self.weights = ((integers - shift) * scales).reshape(shape)
        self.sizes = ((np.abs(integers - lowest) + np.abs(shift - lowest)) * scales).reshape(shape)
        """Of the numbers that are added, which rounding is relative to."""

    @staticmethod
    def _zeros(layout: Layout, rng: np.random.Generator, groups: tuple[int, int]) -> Floats | None:
        if layout.zeros == "none":
            return None
        shape = (*groups, 1) if layout.zeros == "each" else (1, 1, 1)
        return (rng.random(shape) * (1 << layout.bits)).astype(np.float32)

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


Run = Callable[..., list[Floats]]


def compiled(kernels: Kernels, *matrices: Matrix, filler: bool = False) -> Run:
    """Computes the products of rows with matrices."""
    x = ops.parameter([-1, matrices[0].weights.shape[1]], np.float32)
    skipped = ops.parameter([1], np.int32)
    inputs = [x, skipped] if filler else [x]
    model = ov.Model([ops.matmul(x, matrix.node, False, True) for matrix in matrices], inputs)
    assert replace_products(model, kernels.factory, skipped.output(0) if filler else None) == len(matrices)
    assert [node.get_type_name() for node in model.get_ops()].count(OPERATION) == 1
    graph = ov.Core().compile_model(model, "CPU", PROPERTIES)

    def run(*values: npt.NDArray[Any]) -> list[Floats]:
        results = graph([np.ascontiguousarray(value) for value in values])
        return [np.array(results[index]) for index in range(len(matrices))]

    return run


def rows_of(layout: Layout, count: int) -> Floats:
    return np.random.default_rng(1).standard_normal((count, layout.columns)).astype(np.float32)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_products_are_those_of_the_weights(kernels: Kernels, layout: Layout) -> None:
    matrix = Matrix(layout)
    x = rows_of(layout, 37)
    (results,) = compiled(kernels, matrix)(x)
    exact = x.astype(np.float64) @ matrix.weights.T
    bound = np.abs(x).astype(np.float64) @ matrix.sizes.T * layout.columns * 2.0**-24
    assert results.shape == exact.shape
    assert (np.abs(results - exact) <= bound).all()


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_a_row_has_the_same_numbers_alone_and_among_any_others(kernels: Kernels, layout: Layout) -> None:
    run = compiled(kernels, Matrix(layout))
    x = rows_of(layout, 70)
    (together,) = run(x)
    for count in (1, 2, 3, 4, 5, 7, 8, 31, 33):
        for begin in (0, 1, 70 - count):
            assert np.array_equal(run(x[begin : begin + count])[0], together[begin : begin + count])


@pytest.fixture(scope="module")
def wide(kernels: Kernels) -> tuple[Run, Floats, Floats]:
    """A product of many rows with few outputs, whose rows are split among threads: how it runs, rows and results."""
    layout = Layout(40, 320, 32, 4, False, "each")
    run = compiled(kernels, Matrix(layout))
    x = rows_of(layout, 300)
    return run, x, run(x)[0]


@settings(deadline=None, max_examples=50)
@given(borders=st.sets(st.integers(1, 299), max_size=6))
def test_numbers_are_the_same_however_rows_are_split(wide: tuple[Run, Floats, Floats], borders: set[int]) -> None:
    run, x, together = wide
    parts = [run(x[begin:end])[0] for begin, end in pairwise([0, *sorted(borders), 300])]
    assert np.array_equal(np.concatenate(parts), together)


def test_matrices_with_the_same_input_are_computed_at_once(kernels: Kernels) -> None:
    layouts = [Layout(outputs, 64, 32, bits, False, "each") for outputs, bits in [(50, 4), (1, 8), (96, 4)]]
    matrices = [Matrix(layout, seed) for seed, layout in enumerate(layouts)]
    x = rows_of(layouts[0], 9)
    for matrix, result in zip(matrices, compiled(kernels, *matrices)(x), strict=True):
        assert np.array_equal(result, compiled(kernels, matrix)(x)[0])


@pytest.mark.parametrize("skipped", [0, 1, 5, 9])
def test_rows_that_need_no_results_are_zero(kernels: Kernels, skipped: int) -> None:
    layout = Layout(50, 64, 32, 4, True, "none")
    matrix = Matrix(layout)
    x = rows_of(layout, 5)
    (results,) = compiled(kernels, matrix, filler=True)(x, np.array([skipped], np.int32))
    computed = max(0, 5 - skipped)
    assert np.array_equal(results[:computed], compiled(kernels, matrix)(x)[0][:computed])
    assert not results[computed:].any()


def test_no_rows_have_no_results(kernels: Kernels) -> None:
    layout = Layout(50, 64, 32, 4, True, "none")
    assert compiled(kernels, Matrix(layout))(rows_of(layout, 0))[0].shape == (0, 50)
