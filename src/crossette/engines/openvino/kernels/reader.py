"""Read the program of a decoder's layers from a paged graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from crossette.engines.openvino.kernels.patterns import (
    LowRank,
    Rotation,
    Unknown,
    ancestors,
    columns_of,
    gate_of,
    key_of,
    low_rank_of,
    number_of,
    require,
    rms_norm_of,
    rotation_of,
    source_of,
    split_of,
    vector_of,
)
from crossette.engines.openvino.kernels.products import products_of, with_the_same_input
from crossette.engines.openvino.kernels.program import Code, Constants, Node, Output, Program, Value
from crossette.engines.openvino.kv_cache import BLOCK_SIZE

KV_CACHE, WINDOW_KV_CACHE = "kv_cache", "window_kv_cache"
"""Inputs that we add: the caches of all layers, and of those with block tables of their own."""

KEY_CACHE, VALUE_CACHE, PAST, BEGINS, BLOCKS, BLOCK_BEGINS, SCALE, WINDOW = range(3, 11)
_MAX_CONTEXT_LEN = 12
_SIZES = (18, 19)
"""Input ports of an attention node. Those after the window ask for something that the kernels do not do, unless they
are empty, or a number that is zero; the sizes belong to one of these."""
_NUMBERS_BYTES = 8
"""Of a token and head in a cache: scale and offset."""
_COLUMNS, _MOST_COLUMNS = 8, 256
"""Heads have a multiple of the one number of columns, and at most the other."""
_GATED = 16
"""Activations have a multiple of this width."""


@dataclass(slots=True)
class LayersCache:
    """The cache of the layers that have the same block tables."""

    name: str
    tables: Output
    columns: int
    heads: int = 0
    num_layers: int = 0

    def parameter(self) -> Node:
        shape = ov.PartialShape([-1, self.heads, BLOCK_SIZE, self.columns + _NUMBERS_BYTES])
        made = ops.parameter(shape, np.uint8, name=self.name)
        made.get_output_tensor(0).set_names({self.name})
        return made


@dataclass(slots=True)
class _Heads:
    """Of the keys of an attention node."""

    count: int
    columns: int

    @classmethod
    def of(cls, node: Node) -> _Heads:
        facts = node.get_rt_info()
        names = ("num_k_heads", "num_v_heads", "k_head_size", "v_head_size")
        require(all(name in facts for name in names))
        heads, value_heads, columns, value_columns = (int(facts[name].value) for name in names)
        require(heads == value_heads and columns == value_columns)
        require(columns % _COLUMNS == 0 and columns <= _MOST_COLUMNS)
        return cls(heads, columns)


class LayersReader:
    """Reads the program of a graph's layers. Raises Unknown for what it cannot have."""

    def __init__(self, model: ov.Model, rows: Output, windows: Mapping[str, int]) -> None:
        self.program = Program()
        self.caches: list[LayersCache] = []
        self.num_products = 0
        nodes = ancestors(model, rows)
        self.attentions = [node for node in nodes if node.get_type_name() == "PagedAttentionExtension"]
        require(self.attentions)
        self._windows = windows
        self._products = {product.node.get_name(): product for product in products_of(nodes)}
        self._by_input = with_the_same_input(self._products.values())
        self._inside = self._names_inside(nodes)
        self._values: dict[tuple[str, int], Value] = {}
        for node in nodes:  # in their order, so that what they read has been read before
            if node.get_name() in self._products or node in self.attentions:
                self.value(node.output(0))

    def _names_inside(self, nodes: list[Node]) -> set[str]:
        """The names of nodes that depend on a matrix or on attention."""
        inside: set[str] = set()
        for node in nodes:
            is_first = node.get_name() in self._products or node in self.attentions
            if is_first or any(value.get_node().get_name() in inside for value in node.input_values()):
                inside.add(node.get_name())
        return inside

    def put_first(self, rows: Output) -> None:
        """Let the first input be the one that has the shape of `rows`: the embeddings."""
        shape = rows.get_partial_shape()
        found = [value for value, output in self.program.inputs.items() if output.get_partial_shape() == shape]
        require(len(found) == 1)
        self.program.inputs = {found[0]: self.program.inputs[found[0]], **self.program.inputs}

    def value(self, output: Output) -> Value:
        """What an output of the graph has for each token. Raises Unknown if its rows are not tokens."""
        width = columns_of(output)
        output = source_of(output)
        key = key_of(output)
        if key not in self._values:
            if output.get_node().get_name() in self._inside or rms_norm_of(output) is not None:
                self._read(output)
            else:
                self._values[key] = self.program.add_input(output, columns_of(output))
        require(self._values[key].width == width)
        return self._values[key]

    def _new(self, output: Output) -> Value:
        made = self._values[key_of(output)] = Value(columns_of(output))
        return made

    def _read(self, output: Output) -> None:
        node = output.get_node()
        kind = node.get_type_name()
        if kind == "MatMul":
            self._read_product(node)
        elif kind == "PagedAttentionExtension":
            self._read_attention(node)
        elif kind == "VariadicSplit":
            self._read_split(output)
        elif (rotation := rotation_of(output)) is not None:
            self._read_rotation(rotation, output)
        elif (added := low_rank_of(output)) is not None:
            self._read_low_rank(added, output)
        elif kind == "Add":
            self._read_sum(output)
        elif kind == "Multiply":
            self._read_multiply(output)
        else:
            raise Unknown

    def _read_product(self, node: Node) -> None:
        """A product, and all others with the same input."""
        require(node.get_name() in self._products)
        x = node.input_value(0)
        together = self._by_input[key_of(x)]
        operands: list[Constants | Value] = []
        for product in together:
            matrix = Constants(tuple(constant.output(0) for constant in product.matrix))
            operands += [matrix, self._new(product.node.output(0))]
        self.program.add(Code.MULTIPLY, self.value(x), len(together), *operands)
        self.num_products += len(together)

    def _read_attention(self, node: Node) -> None:
        self._check_attention(node)
        heads = _Heads.of(node)
        queries, keys, values = (self.value(node.input_value(port)) for port in range(3))
        require(keys.width == values.width == heads.count * heads.columns and queries.width % keys.width == 0)
        number, cache = self._cache_of(node, heads.columns)
        scale = number_of(node.input_value(SCALE))
        require(scale is not None)
        window = self._windows[node.get_name()]
        self.program.add(
            Code.ATTEND,
            queries,
            heads.columns,
            heads.count,
            keys,
            values,
            self._new(node.output(0)),
            number,
            cache.heads,
            cache.heads + heads.count,
            _floats(scale),
            window,
        )
        cache.heads += 2 * heads.count
        cache.num_layers += 1

    def _check_attention(self, node: Node) -> None:
        require(node.get_attributes()["write_kv_cache"] and node.get_name() in self._windows)
        for port in range(WINDOW + 1, node.get_input_size()):
            if port not in (_MAX_CONTEXT_LEN, *_SIZES):
                setting = node.input_value(port).get_node()
                require(setting.get_type_name() == "Constant")
                data = setting.get_data()
                require(data.size == 0 or (data.ndim == 0 and not data))
        first = self.attentions[0]
        for port in (PAST, BEGINS, BLOCK_BEGINS):
            require(node.input_value(port) == first.input_value(port))
        for port in (KEY_CACHE, VALUE_CACHE):
            require(len(node.input_value(port).get_target_inputs()) == 1)

    def _cache_of(self, node: Node, columns: int) -> tuple[int, LayersCache]:
        tables = node.input_value(BLOCKS)
        for index, cache in enumerate(self.caches):
            if cache.tables == tables:
                require(cache.columns == columns)
                return index, cache
        name = KV_CACHE if "block_indices" in tables.get_names() else WINDOW_KV_CACHE
        require(name not in {cache.name for cache in self.caches})
        self.caches.append(LayersCache(name, tables, columns))
        return len(self.caches) - 1, self.caches[-1]

    def _read_split(self, output: Output) -> None:
        split = split_of(output)
        self.program.add(Code.SLICE, self.value(split.x), self._new(output), split.begin)

    def _read_rotation(self, rotation: Rotation, output: Output) -> None:
        x, cosines, sines = (self.value(each) for each in (rotation.x, rotation.cosines, rotation.sines))
        require(cosines.width == sines.width == rotation.rotated and x.width % rotation.columns == 0)
        self.program.add(Code.ROTATE, x, self._new(output), rotation.columns, rotation.rotated, cosines, sines)

    def _read_low_rank(self, added: LowRank, output: Output) -> None:
        x, product, scales = (self.value(each) for each in (added.x, added.product, added.scales))
        require(added.down.get_shape() == ov.Shape([scales.width, x.width]))
        require(added.up.get_shape() == ov.Shape([product.width, scales.width]))
        matrices = (Constants((each,)) for each in (added.down, added.up))
        self.program.add(Code.ADAPT, x, product, self._new(output), scales, *matrices)

    def _read_sum(self, output: Output) -> None:
        node = output.get_node()
        first, second = node.input_value(0), node.input_value(1)
        width = columns_of(output)
        bias = vector_of(second)
        if bias is not None:
            x = self.value(first)
            require(len(bias) == x.width == width)
            self.program.add(Code.ADD_BIAS, x, self._new(output), _floats(bias))
            return
        a, b = self.value(first), self.value(second)
        require(a.width == b.width == width)
        self.program.add(Code.ADD, a, b, self._new(output))

    def _read_multiply(self, output: Output) -> None:
        width = columns_of(output)
        if (norm := rms_norm_of(output)) is not None:
            x = self.value(norm.x)
            require(x.width == width)
            self.program.add(Code.NORMALISE, x, self._new(output), _floats(norm.weights), _floats(norm.epsilon))
        elif (gate := gate_of(output)) is not None:
            a, b = self.value(gate.gate), self.value(gate.up)
            require(a.width == b.width == width and width % _GATED == 0)
            self.program.add(Code.GATE, a, b, self._new(output), int(gate.gelu))
        else:
            self._read_scaled(output)

    def _read_scaled(self, output: Output) -> None:
        first, second = output.get_node().input_values()
        factor = number_of(second)
        x = self.value(first)
        if factor is not None:
            self.program.add(Code.SCALE, x, self._new(output), _floats(factor))
        else:
            factors = self.value(second)
            require(factors.width == 1 and x.width == columns_of(output))
            self.program.add(Code.SCALE_ROWS, x, self._new(output), factors)


def _floats(values: object) -> Constants:
    return Constants((ops.constant(np.array(values, np.float32).reshape(-1)).output(0),))
