"""Products with quantised matrices are right, and a row's numbers do not depend on the other rows."""

from __future__ import annotations

import ctypes
import gc
import os
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openvino import opset13 as ops

from crossette.engines.openvino.kernels.load import Kernels
from crossette.engines.openvino.kernels.products import ACTIVATION, GATED, PRODUCT, replace_products
from support.own_kernels import INSTRUCTIONS, PROPERTIES, kernels_with
from support.quantised_matrices import TYPES, Layout, Matrix

pytestmark = pytest.mark.model

Floats = npt.NDArray[np.float32]

LARGEST = 32767
"""The integer of the largest activation of a group."""
HALF = 0.5 + 2.0**-8
"""Of a step is what rounding changes; the multiplication before it rounds too."""


LAYOUTS = [
    Layout(outputs, columns, group, bits, is_signed, zeros, numbers)
    for bits, is_signed in TYPES
    for zeros in ("none", "one", "each")
    for outputs, columns, group, numbers in [
        (1, 32, 32, "floats"),
        (47, 576, 16, "floats"),
        (49, 16, 16, "halves"),
        (200, 544, 32, "floats"),
        (200, 544, 32, "halves"),
        (49, 576, 16, "factors"),
        (200, 544, 32, "factors"),
    ]
] + [
    Layout(outputs, columns, group, 8, is_signed, zeros, numbers, used)
    for is_signed in (False, True)
    for zeros in ("none", "one", "each")
    for outputs, columns, group, numbers, used in [(49, 272, 16, "factors", 6), (200, 544, 32, "halves", 5)]
]


@pytest.fixture(scope="module", params=INSTRUCTIONS)
def kernels(request: pytest.FixtureRequest) -> Kernels:
    """The kernels for this CPU, and those that it would have without some of its instructions."""
    return kernels_with(INSTRUCTIONS[request.param])


Run = Callable[..., list[Floats]]


def model_of(kernels: Kernels, *matrices: Matrix, filler: bool = False) -> ov.Model:
    """A graph with one node for the products of rows with matrices."""
    x = ops.parameter([-1, matrices[0].weights.shape[1]], np.float32)
    skipped = ops.parameter([1], np.int32)
    inputs = [x, skipped] if filler else [x]
    model = ov.Model([ops.matmul(x, matrix.node, False, True) for matrix in matrices], inputs)
    assert replace_products(model, kernels.factory, skipped.output(0) if filler else None) == len(matrices)
    assert [node.get_type_name() for node in model.get_ops()].count(PRODUCT) == 1
    return model


def compiled(kernels: Kernels, *matrices: Matrix, filler: bool = False) -> Run:
    """Computes the products of rows with matrices."""
    graph = ov.Core().compile_model(model_of(kernels, *matrices, filler=filler), "CPU", PROPERTIES)

    def run(*values: npt.NDArray[Any]) -> list[Floats]:
        results = graph([np.ascontiguousarray(value) for value in values])
        return [np.array(results[index]) for index in range(len(matrices))]

    return run


def network(kernels: Kernels, gate: Matrix, up: Matrix, down: Matrix, beta: float | None = None) -> Run:
    """Computes `down(silu(gate(x)) * up(x))` of rows, as one node if `beta` is as in SiLU."""
    x = ops.parameter([-1, gate.weights.shape[1]], np.float32)
    silu = ops.swish(ops.matmul(x, gate.node, False, True), None if beta is None else np.float32(beta))
    hidden = ops.multiply(silu, ops.matmul(x, up.node, False, True))
    model = ov.Model([ops.matmul(hidden, down.node, False, True)], [x])
    assert replace_products(model, kernels.factory) == 3
    kinds = [node.get_type_name() for node in model.get_ops()]
    assert (kinds.count(GATED), kinds.count(PRODUCT)) == ((1, 0) if beta in (None, 1) else (0, 2))
    graph = ov.Core().compile_model(model, "CPU", PROPERTIES)
    return lambda values: [np.array(graph([np.ascontiguousarray(values)])[0])]


def matrices_of_a_network(numbers: str = "floats") -> tuple[Matrix, Matrix, Matrix]:
    """Of 96 columns, in groups of different sizes; weights are small enough for sums within some units."""
    return (
        Matrix(Layout(160, 96, 32, 4, False, "each", numbers), 1, 0.02),
        Matrix(Layout(160, 96, 16, 8, True, "none", numbers), 2, 0.001),
        Matrix(Layout(50, 160, 16, 4, True, "none", numbers), 3, 0.01),
    )


def rows_of(layout: Layout, count: int) -> Floats:
    return np.random.default_rng(1).standard_normal((count, layout.columns)).astype(np.float32)


def steps_of(x: Floats, group: int) -> npt.NDArray[np.float64]:
    """Between the integers that stand for activations: a part of the largest one of a group of columns."""
    groups = np.abs(x).astype(np.float64).reshape(len(x), -1, group)
    return np.broadcast_to(groups.max(axis=2, keepdims=True) / LARGEST, groups.shape).reshape(x.shape)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_products_are_those_of_the_weights(kernels: Kernels, layout: Layout) -> None:
    matrix = Matrix(layout)
    x = rows_of(layout, 37)
    (results,) = compiled(kernels, matrix)(x)
    exact = x.astype(np.float64) @ matrix.weights.T
    bound = steps_of(x, layout.group) @ np.abs(matrix.weights).T * HALF
    bound += np.abs(x).astype(np.float64) @ matrix.sizes.T * layout.columns * 2.0**-24
    assert results.shape == exact.shape
    assert (np.abs(results - exact) <= bound).all()


@pytest.mark.parametrize(
    ("layout", "bits"),
    [
        (Layout(48, 512, 32, 4, True, "none", "floats"), 4 + 32 / 32),
        (Layout(48, 512, 32, 4, True, "none", "halves"), 4 + 16 / 32),
        (Layout(48, 512, 32, 4, False, "each", "floats"), 4 + 64 / 32),
        (Layout(48, 512, 32, 4, False, "each", "halves"), 4 + 32 / 32),
        (Layout(48, 512, 32, 4, False, "each", "factors"), 4 + 16 / 32 + 32 / 256),
        (Layout(48, 512, 32, 8, True, "none", "halves"), 8 + 16 / 32),
        (Layout(48, 512, 32, 8, False, "each", "factors", 5), 6 + 16 / 32 + 32 / 256),
        (Layout(48, 512, 16, 8, True, "none", "factors", 6), 6 + 8 / 16 + 16 / 256),
    ],
    ids=str,
)
def test_a_matrix_takes_no_more_memory_than_its_numbers_need(layout: Layout, bits: float) -> None:
    model = model_of(kernels_with(()), Matrix(layout))
    (node,) = (node for node in model.get_ops() if node.get_type_name() == PRODUCT)
    assert node.get_attributes()["bytes"] == layout.outputs * layout.columns * bits / 8


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_a_row_has_the_same_numbers_alone_and_among_any_others(kernels: Kernels, layout: Layout) -> None:
    run = compiled(kernels, Matrix(layout))
    x = rows_of(layout, 70)
    (together,) = run(x)
    for count in (1, 2, 3, 4, 5, 7, 8, 31, 33):
        for begin in (0, 1, 70 - count):
            assert np.array_equal(run(x[begin : begin + count])[0], together[begin : begin + count])


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_numbers_are_the_same_with_other_instructions(layout: Layout) -> None:
    x = rows_of(layout, 37)
    first, *others = (compiled(kernels_with(flags), Matrix(layout))(x)[0] for flags in INSTRUCTIONS.values())
    for other in others:
        assert np.array_equal(first, other)


@pytest.mark.parametrize("size", [0.0, 1e-38, 1e-30, 1e-20, 1e20, 1e34])
def test_activations_of_any_size(kernels: Kernels, size: float) -> None:
    """Those of a group that are all below 1e-30 count as zero."""
    layout = Layout(50, 64, 32, 4, True, "each")
    matrix = Matrix(layout)
    x = rows_of(layout, 9) * np.float32(size)
    (results,) = compiled(kernels, matrix)(x)
    counted = np.where(steps_of(x, 32) * LARGEST < 1e-30, 0, x.astype(np.float64))
    bound = (steps_of(x, 32) + np.abs(x) * 2.0**-16) @ matrix.sizes.T
    assert (np.abs(results - counted @ matrix.weights.T) <= bound).all()


@pytest.mark.parametrize("fault", [np.nan, np.inf, -np.inf])
def test_a_row_with_a_number_that_is_not_finite_has_no_numbers_and_others_have_theirs(
    kernels: Kernels, fault: float
) -> None:
    layout = Layout(50, 64, 32, 8, False, "one")
    run = compiled(kernels, Matrix(layout))
    x = rows_of(layout, 40)
    (whole,) = run(x)
    x[7, 40] = fault
    (results,) = run(x)
    assert np.isnan(results[7]).all()
    assert np.array_equal(np.delete(results, 7, axis=0), np.delete(whole, 7, axis=0))


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


@pytest.mark.parametrize("beta", [None, 1, 2])
@pytest.mark.parametrize("numbers", ["floats", "halves"])
def test_a_network_is_that_of_its_weights(kernels: Kernels, numbers: str, beta: float | None) -> None:
    matrices = matrices_of_a_network(numbers)
    x = np.random.default_rng(1).standard_normal((70, 96)).astype(np.float32)
    x[3] *= 60  # sums far beyond those whose exponentials are numbers
    x[4] = 0
    gate, up, down = (matrix.weights for matrix in matrices)
    sums = x.astype(np.float64) @ gate.T
    exact = (sums / (1 + np.exp(-sums * (beta or 1))) * (x @ up.T)) @ down.T
    (results,) = network(kernels, *matrices, beta=beta)(x)
    assert np.abs(sums).max() > 100
    assert (np.abs(results - exact).max(axis=1) <= 1e-3 * np.abs(exact).max(axis=1)).all()


def test_a_network_has_the_same_numbers_alone_among_others_and_with_other_instructions(kernels: Kernels) -> None:
    matrices = matrices_of_a_network()
    x = np.random.default_rng(1).standard_normal((70, 96)).astype(np.float32)
    run = network(kernels, *matrices)
    (together,) = run(x)
    for count in (1, 2, 3, 5, 33):
        assert np.array_equal(run(x[7 : 7 + count])[0], together[7 : 7 + count])
    assert np.array_equal(network(kernels_with(()), *matrices)(x)[0], together)


def test_a_network_whose_products_something_else_reads_has_the_same_numbers(kernels: Kernels) -> None:
    matrices = matrices_of_a_network()
    rows = np.random.default_rng(1).standard_normal((33, 96)).astype(np.float32)
    x = ops.parameter([-1, 96], np.float32)
    gate, up = (ops.matmul(x, matrix.node, False, True) for matrix in matrices[:2])
    down = ops.matmul(ops.multiply(up, ops.swish(gate)), matrices[2].node, False, True)
    model = ov.Model([down, gate], [x])
    assert replace_products(model, kernels.factory) == 3
    kinds = [node.get_type_name() for node in model.get_ops()]
    assert [kinds.count(kind) for kind in (GATED, ACTIVATION, PRODUCT, "Swish")] == [0, 1, 2, 0]
    results = ov.Core().compile_model(model, "CPU", PROPERTIES)([rows])
    assert np.array_equal(np.array(results[0]), network(kernels, *matrices)(rows)[0])


@pytest.mark.parametrize("fault", [np.nan, np.inf])
def test_a_network_gives_no_numbers_for_a_row_with_one_that_is_not_finite(kernels: Kernels, fault: float) -> None:
    run = network(kernels, *matrices_of_a_network())
    x = np.random.default_rng(1).standard_normal((9, 96)).astype(np.float32)
    (whole,) = run(x)
    x[2, 5] = fault
    (results,) = run(x)
    assert np.isnan(results[2]).all()
    assert np.array_equal(np.delete(results, 2, axis=0), np.delete(whole, 2, axis=0))


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


def resident_memory() -> int:
    """In bytes, without what malloc keeps for later: that depends on the tests before."""
    ctypes.CDLL(None).malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def test_a_large_matrix_has_memory_of_its_own() -> None:
    """So it is freed with the last node that has it, while smaller ones that were made after it are used."""

    def node(outputs: int, columns: int) -> ov.Node:
        groups = outputs * columns // 32
        shape = ov.Shape([outputs, columns // 32, 32])
        integers = ov.op.Constant(ov.Tensor(np.zeros(groups * 16, np.uint8), shape, ov.Type.u4), shared_memory=False)
        scales = ops.constant(np.ones(groups, np.float32))
        none = ops.constant(np.zeros(0, np.float32))
        x = ops.parameter([-1, columns], np.float32)
        return kernels_with(()).factory.create(PRODUCT, [*(one.output(0) for one in (x, none, integers, scales, none))])

    before = resident_memory()
    large = node(1 << 15, 1 << 12)
    assert resident_memory() > before + (64 << 20)
    small = node(50, 64)
    del large
    gc.collect()
    assert resident_memory() < before + (32 << 20)
    del small
