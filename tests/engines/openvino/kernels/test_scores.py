"""Scores of tokens are those of the logits, and do not depend on the other rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov
import pytest
from openvino import opset13 as ops

from crossette.engines.openvino.kernels.load import Kernels
from crossette.engines.openvino.kernels.products import replace_products
from crossette.engines.openvino.kernels.scores import BEST, BEST_ID, LOG_SUM, TOKEN, scores_graph
from support.own_kernels import INSTRUCTIONS, PROPERTIES, kernels_with
from support.quantised_matrices import Layout, Matrix

pytestmark = pytest.mark.model

Floats = npt.NDArray[np.float32]
Run = Callable[[Floats, npt.NDArray[Any]], Floats]

VOCABULARIES = (1, 24, 767, 768, 769, 5000)
"""Parts of 768 outputs are computed at a time, in panels of 24 or 48."""


@pytest.fixture(scope="module", params=INSTRUCTIONS)
def kernels(request: pytest.FixtureRequest) -> Kernels:
    """The kernels for this CPU, and those that it would have without some of its instructions."""
    return kernels_with(INSTRUCTIONS[request.param])


def matrix_of(vocabulary: int) -> Matrix:
    return Matrix(Layout(vocabulary, 64, 32, 8, True, "none", "halves"), scale=0.02)


def model_of(kernels: Kernels, matrix: Matrix, *, scale: float | None = None) -> ov.Model:
    """A head: a product, times a factor if there is one."""
    x = ops.parameter([-1, matrix.weights.shape[1]], np.float32)
    logits = ops.matmul(x, matrix.node, False, True)
    model = ov.Model([logits if scale is None else ops.multiply(logits, np.float32(scale))], [x])
    assert replace_products(model, kernels.factory) == 1
    return model


def compiled(kernels: Kernels, vocabulary: int) -> tuple[Callable[[Floats], Floats], Run]:
    """The logits of rows, and the scores of rows and tokens."""
    model = model_of(kernels, matrix_of(vocabulary))
    scores = scores_graph(model, kernels.factory)
    assert scores is not None
    logits = ov.Core().compile_model(model, "CPU", PROPERTIES)
    graph = ov.Core().compile_model(scores, "CPU", PROPERTIES)
    del model, scores  # the matrix stays
    return lambda x: np.array(logits([x])[0]), lambda x, tokens: np.array(graph([x, tokens.astype(np.int32)])[0])


def rows(count: int) -> Floats:
    return np.random.default_rng(3).standard_normal((count, 64)).astype(np.float32)


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
@pytest.mark.parametrize("count", [1, 5, 300])
def test_scores_are_those_of_logits(kernels: Kernels, vocabulary: int, count: int) -> None:
    logits_of, scores_of = compiled(kernels, vocabulary)
    x = rows(count)
    tokens = np.random.default_rng(4).integers(0, vocabulary, count)
    tokens[0] = vocabulary - 1
    scores, logits = scores_of(x, tokens), logits_of(x)

    assert np.array_equal(scores[:, TOKEN], logits[np.arange(count), tokens])
    assert np.array_equal(scores[:, BEST], logits.max(axis=1))
    assert np.array_equal(scores[:, BEST_ID], logits.argmax(axis=1))
    exact = logits.astype(np.float64)
    log_sums = np.log(np.exp(exact - exact.max(axis=1, keepdims=True)).sum(axis=1))
    assert scores[:, LOG_SUM] == pytest.approx(log_sums, abs=1e-6)


def test_scores_of_a_row_do_not_depend_on_others(kernels: Kernels) -> None:
    _, scores_of = compiled(kernels, 5000)
    x, tokens = rows(300), np.arange(300)
    together = scores_of(x, tokens)

    for begin, end in ((0, 1), (7, 12), (130, 258), (299, 300)):
        assert np.array_equal(scores_of(x[begin:end], tokens[begin:end]), together[begin:end])


def test_of_equal_logits_the_first_is_the_largest(kernels: Kernels) -> None:
    _, scores_of = compiled(kernels, 5000)
    scores = scores_of(np.zeros((2, 64), np.float32), np.array([0, 4999]))

    assert scores[:, BEST_ID].tolist() == [0, 0]
    assert scores[:, LOG_SUM] == pytest.approx(np.log(5000), abs=1e-6)


def test_rows_that_are_not_finite_have_no_score(kernels: Kernels) -> None:
    _, scores_of = compiled(kernels, 769)
    x = rows(3)
    x[1, 5] = np.inf
    scores = scores_of(x, np.zeros(3, np.int32))

    assert np.isnan(scores[1, LOG_SUM])
    assert np.isfinite(scores[[0, 2]]).all()


def test_no_rows_have_no_scores(kernels: Kernels) -> None:
    _, scores_of = compiled(kernels, 769)

    assert scores_of(np.zeros((0, 64), np.float32), np.zeros(0, np.int32)).shape == (0, 4)


def test_logits_that_are_more_than_products_have_no_scores(kernels: Kernels) -> None:
    assert scores_graph(model_of(kernels, matrix_of(768), scale=0.5), kernels.factory) is None
