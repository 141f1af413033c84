"""The node of a decoder's layers: what its instructions compute, and which graphs it takes the place of."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import openvino as ov
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openvino import opset13 as ops

from crossette.engines.openvino.kernels.layers import LAYERS
from crossette.engines.openvino.kernels.load import Kernels
from crossette.engines.openvino.kernels.program import Code, Constants, Program, Value
from crossette.engines.openvino.kv_cache import BLOCK_SIZE, blocks_for
from support.own_kernels import INSTRUCTIONS, PROPERTIES, kernels_with

pytestmark = pytest.mark.model

Floats = npt.NDArray[np.float32]

PARTITION = 16 * BLOCK_SIZE
"""Tokens whose softmax is computed at once."""


@pytest.fixture(scope="module", params=INSTRUCTIONS)
def kernels(request: pytest.FixtureRequest) -> Kernels:
    """The kernels for this CPU, and those that it would have without some of its instructions."""
    return kernels_with(INSTRUCTIONS[request.param])


def floats(values: Any) -> Constants:
    return Constants((ops.constant(np.array(values, np.float32).reshape(-1)).output(0),))


class Sequences(NamedTuple):
    """The sequences of a step: how many tokens are in the cache, how many are new, and the blocks."""

    past: Sequence[int]
    new: Sequence[int]
    blocks: Sequence[Sequence[int]]

    def tensors(self) -> list[npt.NDArray[np.int32]]:
        """past_lens, subsequence_begins, block_indices_begins, block_indices."""
        begins = np.cumsum([0, *self.new])
        tables = np.cumsum([0, *map(len, self.blocks)])
        return [np.array(one, np.int32) for one in (self.past, begins, tables, list(chain.from_iterable(self.blocks)))]


NO_SEQUENCE = Sequences([], [], [])


class Node:
    """A node with one program, compiled."""

    def __init__(self, kernels: Kernels, program: Program, result: Value, heads: int = 2, columns: int = 16) -> None:
        inputs = [ops.parameter([-1, value.width], np.float32) for value in program.inputs]
        tables = [ops.parameter([-1], np.int32) for _ in range(4)]
        self.cache_shape = [heads, BLOCK_SIZE, columns + 8]
        cache = ops.parameter([-1, *self.cache_shape], np.uint8)
        own = [*inputs, *tables, cache]
        numbers, constants = program.encode(result, 1, len(own))
        node = kernels.factory.create(LAYERS, [each.output(0) for each in own] + constants, {"program": numbers})
        model = ov.Model([node.output(0)], own)
        self._request = ov.Core().compile_model(model, "CPU", PROPERTIES).create_infer_request()

    def new_cache(self, num_blocks: int) -> ov.Tensor:
        """With numbers that are not finite, as uninitialised memory may have."""
        cache = ov.Tensor(ov.Type.u8, ov.Shape([num_blocks, *self.cache_shape]))
        cache.data[:] = 0xFF
        return cache

    def run(
        self, values: Sequence[Floats], sequences: Sequences = NO_SEQUENCE, cache: ov.Tensor | None = None
    ) -> Floats:
        cache = self.new_cache(1) if cache is None else cache
        tensors = [ov.Tensor(np.ascontiguousarray(one)) for one in (*values, *sequences.tensors())]
        for port, tensor in enumerate((*tensors, cache)):
            self._request.set_input_tensor(port, tensor)
        self._request.infer()
        found: Floats = self._request.get_output_tensor().data.copy()
        return found


Make = Callable[[Program, list[Value]], Value]


def node_of(kernels: Kernels, widths: Sequence[int], make: Make) -> Node:
    program = Program()
    values = [program.add_input(None, width) for width in widths]
    return Node(kernels, program, make(program, values))


def random(*shape: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


ROWS = (1, 3, 200)
WIDTH = 96


def close(found: Floats, expected: Floats) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * max(1, np.abs(expected).max()))


def check(kernels: Kernels, widths: Sequence[int], make: Make, expected: Callable[..., Floats]) -> None:
    """An instruction gives what numpy gives, and each row alone the same bits as among others."""
    node = node_of(kernels, widths, make)
    for rows in ROWS:
        values = [random(rows, width, seed=index) for index, width in enumerate(widths)]
        found = node.run(values)
        close(found, expected(*values))
        for row in {0, rows // 2, rows - 1}:
            assert np.array_equal(node.run([value[row : row + 1] for value in values])[0], found[row])


def test_a_factor_for_each_row(kernels: Kernels) -> None:
    def make(program: Program, values: list[Value]) -> Value:
        result = Value(WIDTH)
        program.add(Code.SCALE_ROWS, values[0], result, values[1])
        return result

    check(kernels, [WIDTH, 1], make, lambda x, factors: x * factors)


def test_a_sum_a_factor_and_a_bias(kernels: Kernels) -> None:
    bias = random(WIDTH, seed=9)

    def make(program: Program, values: list[Value]) -> Value:
        total, scaled, result = Value(WIDTH), Value(WIDTH), Value(WIDTH)
        program.add(Code.ADD, values[0], values[1], total)
        program.add(Code.SCALE, total, scaled, floats(0.25))
        program.add(Code.ADD_BIAS, scaled, result, floats(bias))
        return result

    check(kernels, [WIDTH, WIDTH], make, lambda a, b: (a + b) * np.float32(0.25) + bias)


@pytest.mark.parametrize("group", [WIDTH, 32, 8, 6])
def test_norms_of_rows_and_of_heads(kernels: Kernels, group: int) -> None:
    weights, epsilon = random(group, seed=9), 1e-3

    def make(program: Program, values: list[Value]) -> Value:
        result = Value(WIDTH)
        program.add(Code.NORMALISE, values[0], result, floats(weights), floats(epsilon))
        return result

    def expected(x: Floats) -> Floats:
        heads = x.reshape(len(x), -1, group)
        found = heads / np.sqrt((heads**2).mean(-1, keepdims=True) + epsilon) * weights
        return np.asarray(found, np.float32).reshape(x.shape)

    check(kernels, [WIDTH], make, expected)


@pytest.mark.parametrize(("head", "rotated"), [(32, 32), (32, 8), (96, 96), (48, 14)])
def test_rotary_positions_of_whole_heads_and_of_their_first_columns(kernels: Kernels, head: int, rotated: int) -> None:
    def make(program: Program, values: list[Value]) -> Value:
        result = Value(WIDTH)
        program.add(Code.ROTATE, values[0], result, head, rotated, values[1], values[2])
        return result

    def expected(x: Floats, cos: Floats, sin: Floats) -> Floats:
        heads = x.reshape(len(x), -1, head).copy()
        first, second = heads[..., : rotated // 2], heads[..., rotated // 2 : rotated]
        swapped = np.concatenate([-second, first], -1)
        heads[..., :rotated] = heads[..., :rotated] * cos[:, None] + swapped * sin[:, None]
        return heads.reshape(x.shape)

    check(kernels, [WIDTH, rotated, rotated], make, expected)


@pytest.mark.parametrize("gelu", [False, True])
def test_gated_activations(kernels: Kernels, gelu: bool) -> None:
    def make(program: Program, values: list[Value]) -> Value:
        result = Value(WIDTH)
        program.add(Code.GATE, values[0], values[1], result, int(gelu))
        return result

    def expected(gate: Floats, up: Floats) -> Floats:
        tanh = np.tanh(np.sqrt(2 / np.pi) * (gate + 0.044715 * gate**3))
        activated = 0.5 * gate * (1 + tanh) if gelu else gate / (1 + np.exp(-gate))
        return np.asarray(activated * up, np.float32)

    check(kernels, [WIDTH, WIDTH], make, expected)


def test_adapters_of_some_tokens(kernels: Kernels) -> None:
    ranks, width = 12, 40
    down, up = random(ranks, WIDTH, seed=9), random(width, ranks, seed=8)

    def make(program: Program, values: list[Value]) -> Value:
        result = Value(width)
        program.add(Code.ADAPT, values[1], values[0], result, values[2], floats(down), floats(up))
        return result

    def expected(product: Floats, x: Floats, scales: Floats) -> Floats:
        return np.asarray(product + ((x @ down.T) * scales) @ up.T, np.float32)

    check(kernels, [width, WIDTH, ranks], make, expected)
    product, x = random(2, width), random(2, WIDTH)
    scales = np.zeros((2, ranks), np.float32)
    scales[0, 4:8] = 2
    found = node_of(kernels, [width, WIDTH, ranks], make).run([product, x, scales])
    close(found, expected(product, x, scales))
    assert np.array_equal(found[1], product[1])


def test_columns_that_are_taken_apart(kernels: Kernels) -> None:
    def make(program: Program, values: list[Value]) -> Value:
        first, second, result = Value(32), Value(32), Value(32)
        program.add(Code.SLICE, values[1], first, 0)
        program.add(Code.SLICE, values[1], second, 40)
        program.add(Code.ADD, first, second, result)
        return result

    check(kernels, [32, WIDTH], make, lambda _, x: x[:, :32] + x[:, 40:72])


def test_registers_are_used_again_only_when_nothing_reads_them() -> None:
    """A long chain has as many registers as are alive at once, and gives what the chain gives."""
    kernels, length = kernels_with(()), 20

    def make(program: Program, values: list[Value]) -> Value:
        first = x = values[0]
        for _ in range(length):
            doubled, more = Value(WIDTH), Value(WIDTH)
            program.add(Code.ADD, x, x, doubled)
            program.add(Code.ADD, doubled, first, more)
            x = more
        numbers, _ = program.encode(x, 1, 0)
        assert numbers[2] == 4  # the input, the result, and two between them
        return x

    check(kernels, [WIDTH], make, lambda x: x * np.float32(2 ** (length + 1) - 1))


class Attention(NamedTuple):
    heads: int
    kv_heads: int
    columns: int
    window: int = 0

    @property
    def widths(self) -> tuple[int, int, int]:
        kv = self.kv_heads * self.columns
        return self.heads * self.columns, kv, kv

    def node(self, kernels: Kernels) -> Node:
        program = Program()
        queries, keys, values = (program.add_input(None, width) for width in self.widths)
        result = Value(self.widths[0])
        # The heads of the layer are not the first ones of its cache.
        program.add(
            Code.ATTEND,
            queries,
            self.columns,
            self.kv_heads,
            keys,
            values,
            result,
            0,
            1,
            1 + self.kv_heads,
            floats(self.columns**-0.5),
            self.window,
        )
        return Node(kernels, program, result, 1 + 2 * self.kv_heads, self.columns)

    def expected(self, queries: Floats, keys: Floats, values: Floats) -> Floats:
        """Of one sequence, with keys and values rounded to 8 bits for each token and head."""
        shape = (len(queries), self.kv_heads, -1, self.columns)
        q = queries.reshape(shape).astype(np.float64)
        k, v = (rounded(each.reshape(len(each), self.kv_heads, self.columns)) for each in (keys, values))
        scores = np.einsum("qhgc,khc->hgqk", q, k) * self.columns**-0.5
        position = np.arange(len(queries))
        seen = position[:, None] >= position
        if self.window:
            seen &= position[:, None] - position < self.window
        weights = np.exp(scores - scores.max(-1, keepdims=True)) * seen
        weights /= weights.sum(-1, keepdims=True)
        found: Floats = np.einsum("hgqk,khc->qhgc", weights, v).reshape(queries.shape).astype(np.float32)
        return found


def rounded(x: Floats) -> npt.NDArray[np.float64]:
    lowest = x.min(-1, keepdims=True).astype(np.float64)
    step = (x.max(-1, keepdims=True) - lowest) / 255
    found: npt.NDArray[np.float64] = np.floor((x - lowest) / np.where(step == 0, 1, step) + 0.5) * step + lowest
    return found


KINDS = [
    Attention(4, 2, 32),
    Attention(9, 3, 64),
    Attention(2, 1, 80, window=40),
    Attention(8, 8, 16, window=600),
    Attention(4, 1, 256),
    Attention(3, 1, 8),
    Attention(2, 2, 72),
]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_attention_is_that_of_the_rounded_cache(kernels: Kernels, kind: Attention) -> None:
    """Of a text over three partitions, at once and in chunks."""
    length = 2 * PARTITION + 77
    x = [random(length, width, seed=index) for index, width in enumerate(kind.widths)]
    node = kind.node(kernels)
    expected = kind.expected(*x)
    blocks = np.random.default_rng(1).permutation(blocks_for(length)).tolist()
    whole = node.run(x, Sequences([0], [length], [blocks]), node.new_cache(len(blocks)))
    assert np.abs(whole - expected).max() < 2e-3
    cache = node.new_cache(len(blocks))
    for begin, end in ((0, 1), (1, 34), (34, 700), (700, length)):
        part = node.run([one[begin:end] for one in x], Sequences([begin], [end - begin], [blocks]), cache)
        assert np.array_equal(part, whole[begin:end])


@pytest.mark.parametrize("kind", KINDS, ids=str)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_neighbours_and_chunks_change_no_bit(kernels: Kernels, kind: Attention, data: st.DataObject) -> None:
    """Of any sequence in any step, where its blocks are anywhere in the cache."""
    lengths = data.draw(
        st.lists(st.integers(1, 2 * BLOCK_SIZE) | st.integers(1, PARTITION + 40), min_size=1, max_size=4)
    )
    node = kind.node(kernels)
    num_blocks = sum(map(blocks_for, lengths))
    free = data.draw(st.permutations(range(num_blocks)))
    tables = [[free.pop() for _ in range(blocks_for(length))] for length in lengths]
    texts = [[random(length, width, seed=index) for width in kind.widths] for index, length in enumerate(lengths)]
    alone = [
        node.run(text, Sequences([0], [length], [list(range(blocks_for(length)))]), node.new_cache(blocks_for(length)))
        for text, length in zip(texts, lengths, strict=True)
    ]
    cache = node.new_cache(num_blocks)
    done = [0] * len(lengths)
    while left := [index for index, length in enumerate(lengths) if done[index] < length]:
        chosen = data.draw(st.lists(st.sampled_from(left), min_size=1, unique=True))
        counts = [data.draw(st.integers(1, lengths[index] - done[index])) for index in chosen]
        parts = [
            [one[done[index] : done[index] + count] for one in texts[index]]
            for index, count in zip(chosen, counts, strict=True)
        ]
        step = Sequences([done[index] for index in chosen], counts, [tables[index] for index in chosen])
        found = node.run([np.concatenate(each) for each in zip(*parts, strict=True)], step, cache)
        begin = 0
        for index, count in zip(chosen, counts, strict=True):
            assert np.array_equal(found[begin : begin + count], alone[index][done[index] : done[index] + count])
            done[index] += count
            begin += count


def peak_memory() -> int:
    """The most bytes that this process has had in memory since the last call."""
    status = Path("/proc/self/status").read_text()
    Path("/proc/self/clear_refs").write_text("5")
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024  # type: ignore[index]  # the line is there


def test_a_long_context_takes_little_memory() -> None:
    """Scores of all its partitions at once would take 80 MB here, and gigabytes with many threads."""
    kind = Attention(1, 1, 16)
    node = kind.node(kernels_with(()))
    length, new = 1 << 16, 7 * 32
    blocks = list(range(blocks_for(length)))
    cache = node.new_cache(len(blocks))
    cache.data[:] = 0
    x = [random(new, width) for width in kind.widths]
    step = Sequences([length - new], [new], [blocks])
    peak_memory()
    before = peak_memory()
    found = node.run(x, step, cache)
    assert peak_memory() - before < 32 << 20
    part = node.run([one[100:101] for one in x], Sequences([length - new + 100], [1], [blocks]), cache)
    assert np.array_equal(part[0], found[100])


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e39])
def test_numbers_that_are_not_finite_stay_with_their_sequence(kernels: Kernels, bad: float) -> None:
    kind = Attention(4, 2, 32)
    node = kind.node(kernels)
    x = [random(40, width, seed=index) for index, width in enumerate(kind.widths)]
    both = [np.concatenate([one, one]) for one in x]
    step = Sequences([0, 0], [40, 40], [[0, 1], [2, 3]])
    expected = node.run(x, Sequences([0], [40], [[0, 1]]), node.new_cache(2))
    for port in range(3):
        spoilt = [one.copy() for one in both]
        with np.errstate(over="ignore"):
            spoilt[port][20, 3] = np.float32(bad)
        found = node.run(spoilt, step, node.new_cache(4))
        assert np.array_equal(found[40:], expected)
        assert np.array_equal(found[:20], expected[:20])
        assert np.isnan(found[20]).any()


def test_all_instructions_of_a_cpu_give_the_same_bits() -> None:
    kind = Attention(9, 3, 64)
    length = PARTITION + 50
    x = [random(length, width, seed=index) for index, width in enumerate(kind.widths)]
    blocks = list(range(blocks_for(length)))
    found = []
    for flags in INSTRUCTIONS.values():
        node = kind.node(kernels_with(flags))
        found.append(node.run(x, Sequences([0], [length], [blocks]), node.new_cache(len(blocks))))
    assert all(np.array_equal(one, found[0]) for one in found)
