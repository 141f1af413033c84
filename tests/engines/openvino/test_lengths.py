"""Which values of a graph depend on all sequences, and up to which length they stay constant: on small graphs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import openvino as ov
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openvino import opset13 as ops

from crossette.engines.openvino.lengths import window_limit
from crossette.errors import ModelError

pytestmark = pytest.mark.model

Output = Any  # ov.Output: the package has no stubs for it
FREQUENCIES = np.linspace(1, 0.1, 8, dtype=np.float32)
WINDOW = 4096


def constant(value: object, kind: type = np.int64) -> Output:
    return ops.constant(np.array(value, kind)).output(0)


def longest(positions: Output) -> Output:
    axes = ops.range(constant(0), constant(2), constant(1), "i64")  # as in traced models
    return ops.add(ops.reduce_max(positions, axes), constant(1)).output(0)


class Graph:
    """The relevant parts of a paged graph: positions, the longest context length, and hidden states."""

    def __init__(self) -> None:
        self.ids, self.flat = (ops.parameter([-1], np.int64) for _ in range(2))
        self.context = ops.parameter([], np.int32)
        named = {"input_ids": self.ids, "position_ids": self.flat, "max_context_len": self.context}
        for name, parameter in named.items():
            parameter.output(0).set_names({name})
        self.positions = ops.unsqueeze(self.flat, constant(1)).output(0)
        table = np.random.default_rng(0).random((20, 8), np.float32)
        self.hidden = ops.gather(ops.constant(table), ops.unsqueeze(self.ids, constant(1)), constant(0)).output(0)
        """`[tokens, 1, 8]`"""

    @property
    def length(self) -> Output:
        """The longest context length, computed via the number of past tokens."""
        one = ops.gather(ops.shape_of(self.hidden), constant(1), constant(0))
        past = ops.subtract(ops.convert(self.context, np.int64), one)
        return ops.add(past, one).output(0)

    def rotated(self, frequencies: Output, positions: Output | None = None) -> Output:
        """The hidden states, rotated by each token's position times `frequencies`."""
        positions = self.positions if positions is None else positions
        angles = ops.multiply(ops.convert(ops.unsqueeze(positions, constant(2)), np.float32), frequencies)
        return ops.multiply(self.hidden, ops.cos(angles)).output(0)

    def limit(self, output: Output, window: int = WINDOW) -> int | None:
        model = ov.Model([output], [self.ids, self.flat, self.context], "graph")
        before = [node.get_friendly_name() for node in model.get_ordered_ops()]
        found = window_limit(model, window)
        assert [node.get_friendly_name() for node in model.get_ordered_ops()] == before
        return None if found is None else found.tokens


@pytest.fixture
def graph() -> Graph:
    return Graph()


def chosen(condition: Output) -> Output:
    return ops.select(condition, ops.constant(FREQUENCIES / 4), ops.constant(FREQUENCIES)).output(0)


def test_frequencies_of_the_model_limit_nothing(graph: Graph) -> None:
    assert graph.limit(graph.rotated(ops.constant(FREQUENCIES).output(0))) is None


def test_frequencies_by_the_largest_position(graph: Graph) -> None:
    assert graph.limit(graph.rotated(chosen(ops.greater(longest(graph.positions), constant(512))))) == 512


def test_frequencies_by_the_longest_context(graph: Graph) -> None:
    assert graph.limit(graph.rotated(chosen(ops.greater(graph.length, constant(512))))) == 512


def test_frequencies_by_the_last_token(graph: Graph) -> None:
    last = ops.gather(graph.flat, constant(-1), constant(0))
    assert graph.limit(graph.rotated(chosen(ops.greater_equal(last, constant(512))))) == 512


def test_frequencies_by_each_tokens_position_are_its_own(graph: Graph) -> None:
    is_far = ops.greater(ops.unsqueeze(graph.positions, constant(2)), constant(512))
    assert graph.limit(graph.rotated(chosen(is_far))) is None


def test_the_largest_position_of_each_row_is_its_own(graph: Graph) -> None:
    own = ops.reduce_max(graph.positions, constant([1]), keep_dims=True)
    is_far = ops.greater(ops.unsqueeze(own, constant(2)), constant(512))
    assert graph.limit(graph.rotated(chosen(is_far))) is None


def test_an_amplitude_beside_the_frequencies(graph: Graph) -> None:
    """Two values chosen by one condition, as where long contexts also have another scale."""
    is_long = ops.greater(longest(graph.positions), constant(700))
    scale = ops.select(is_long, constant(1.4, np.float32), constant(1.2, np.float32))
    assert graph.limit(ops.multiply(graph.rotated(chosen(is_long)), scale).output(0)) == 700


def test_a_scale_of_attention_that_grows_in_steps(graph: Graph) -> None:
    """Per token in the original graph; the paged graph computes it from the longest context."""
    positions = ops.range(ops.subtract(graph.length, constant(1)), graph.length, constant(1), "i64")
    steps = ops.floor(ops.divide(ops.convert(ops.add(positions, constant(1)), np.float32), constant(64, np.float32)))
    scale = ops.add(ops.log(ops.add(steps, constant(1, np.float32))), constant(1, np.float32))
    shape = ops.concat([ops.gather(ops.shape_of(graph.hidden), constant([0]), constant(0)), constant([1, 1])], 0)
    scaled = ops.multiply(graph.hidden, ops.broadcast(ops.reshape(scale, constant([1, 1, 1]), False), shape))
    assert graph.limit(scaled.output(0)) == 63


def cosines(graph: Graph, frequencies: Output) -> Output:
    """A table as long as the longest context, of which each token reads the row of its position."""
    positions = ops.convert(ops.range(constant(0), graph.length, constant(1), "i64"), np.float32)
    table = ops.cos(ops.multiply(ops.unsqueeze(positions, constant(1)), frequencies))
    return ops.multiply(graph.hidden, ops.gather(table, graph.positions, constant(0))).output(0)


def test_a_table_that_only_grows(graph: Graph) -> None:
    assert graph.limit(cosines(graph, ops.constant(FREQUENCIES).output(0))) is None


def test_a_table_of_chosen_frequencies(graph: Graph) -> None:
    assert graph.limit(cosines(graph, chosen(ops.greater(graph.length, constant(300))))) == 300


def test_a_slice_of_a_table(graph: Graph) -> None:
    table = ops.constant(np.random.default_rng(1).random((WINDOW, 8), np.float32))
    rows = ops.slice(table, constant([0]), ops.unsqueeze(graph.length, constant(0)), constant([1]), constant([0]))
    read = ops.gather(rows, graph.positions, constant(0))
    assert graph.limit(ops.multiply(graph.hidden, read).output(0)) is None


def test_a_context_counted_from_its_end(graph: Graph) -> None:
    """Each token reads its own row, but the rows change with the longest context."""
    table = ops.convert(ops.range(graph.length, constant(0), constant(-1), "i64"), np.float32)
    read = ops.unsqueeze(ops.gather(table, graph.positions, constant(0)), constant(2))
    with pytest.raises(ModelError, match="from all sequences of a batch together"):
        graph.limit(ops.multiply(graph.hidden, read).output(0))


def grown(graph: Graph) -> Output:
    """Like dynamic NTK scaling, which tracing would freeze."""
    length = ops.convert(longest(graph.positions), np.float32)
    return ops.multiply(ops.constant(FREQUENCIES), ops.power(length, constant(-0.5, np.float32))).output(0)


def summed(graph: Graph) -> Output:
    total = ops.convert(ops.reduce_sum(graph.positions, constant([0, 1])), np.float32)
    return ops.multiply(ops.constant(FREQUENCIES), total).output(0)


@pytest.mark.parametrize("frequencies", [grown, summed])
def test_frequencies_that_change_with_every_token(graph: Graph, frequencies: Callable[[Graph], Output]) -> None:
    with pytest.raises(ModelError, match=r"Its graph computes '\w+' from all sequences of a batch together"):
        graph.limit(graph.rotated(frequencies(graph)))


@pytest.mark.parametrize("axis", [0, -2])
def test_positions_counted_through_the_step(graph: Graph, axis: int) -> None:
    with pytest.raises(ModelError, match="Its graph computes 'CumSum"):
        graph.limit(graph.rotated(constant(FREQUENCIES, np.float32), ops.cumsum(graph.positions, constant(axis))))


def test_positions_counted_within_a_row(graph: Graph) -> None:
    within = ops.cumsum(graph.positions, constant(1)).output(0)
    assert graph.limit(graph.rotated(constant(FREQUENCIES, np.float32), within)) is None


@settings(deadline=None, max_examples=40)  # each compiles a small graph
@given(length=st.integers(32, 20_000), window=st.integers(1, 20_000), by_context=st.booleans())
def test_the_limit_is_the_last_length_before_the_choice(length: int, window: int, by_context: bool) -> None:
    graph = Graph()
    found = graph.length if by_context else longest(graph.positions)

    limit = graph.limit(graph.rotated(chosen(ops.greater(found, constant(length)))), window)

    assert limit == (length if length < window else None)
