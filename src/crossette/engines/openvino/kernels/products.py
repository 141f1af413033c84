"""Replace the products with quantised matrices of a graph by nodes of crossette's own operations.

A product has the form that the converter writes (gguf/weights.py): the matrix is `(integers - zeros) * scales` in
groups of columns, reshaped. Other products stay as they are. A feed-forward network with a SiLU between its products is
one node, and so are products of the same input: a node costs some 20 µs each time that it runs. Where something else,
such as an adapter, reads the products of such a network, its activation is a node of its own, with the same numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import openvino as ov
from openvino import opset13 as ops
from openvino.utils.node_factory import NodeFactory

from crossette.engines.openvino.kernels.patterns import is_silu, key_of

PRODUCT, GATED, ACTIVATION = "QuantisedProduct", "GatedProduct", "GatedActivation"
"""The types of the nodes."""

_INTEGERS = {ov.Type.i4, ov.Type.u4, ov.Type.i8, ov.Type.u8}
_GROUPS = (16, 32)


class Matrix(NamedTuple):
    """The constants of a quantised matrix: `[outputs, groups, columns of a group]`, and numbers of the groups."""

    integers: ov.Node
    scales: ov.Node
    zeros: ov.Node
    """One for each group, or for all, or none."""


class Product(NamedTuple):
    """A product with a quantised matrix."""

    node: ov.Node
    matrix: Matrix

    @property
    def x(self) -> tuple[str, int]:
        """The key of its input."""
        return key_of(self.node.input_value(0))


def products_of(nodes: Iterable[ov.Node]) -> list[Product]:
    """The products of which the kernels can read the matrices."""
    return [Product(node, matrix) for node in nodes if (matrix := _matrix_of(node)) is not None]


def replace_products(model: ov.Model, factory: NodeFactory, filler: ov.Output | None = None) -> int:
    """Replace all products that can be; `factory` knows the operations. Returns how many.

    `filler` is the number of rows at the end of a step that need no results. Rows that were gathered have none.
    """
    found = products_of(model.get_ordered_ops())
    by_name = {product.node.get_name(): product for product in found}
    inside: set[str] = set()
    for down in found:
        if (activation := _activation(down)) is None:
            continue
        if (network := _network(down, activation, by_name)) is None:
            activated = factory.create(ACTIVATION, [activation.gate, activation.up])
            activation.result.replace(activated.output(0))
        else:
            _replace(network, [down.node.output(0)], GATED, factory, filler)
            inside |= {product.node.get_name() for product in network}
    others = [product for product in found if product.node.get_name() not in inside]
    for products in with_the_same_input(others).values():
        _replace(products, [product.node.output(0) for product in products], PRODUCT, factory, filler)
    return len(found)


def _replace(
    products: Sequence[Product],
    outputs: list[ov.Output],
    operation: str,
    factory: NodeFactory,
    filler: ov.Output | None,
) -> None:
    """Let one node of an operation give these outputs of products, the first of which has its input."""
    x = products[0].node.input_value(0)
    has_filler = filler is not None and x.get_node().get_type_name() != "Gather"
    skipped = filler if has_filler else ops.constant(np.zeros(0, np.int32)).output(0)
    constants = [constant.output(0) for product in products for constant in product.matrix]
    joined = factory.create(operation, [x, skipped, *constants])
    joined.set_friendly_name(", ".join(product.node.get_friendly_name() for product in products))
    for output, new in zip(outputs, joined.outputs(), strict=True):
        output.replace(new)


class Activation(NamedTuple):
    """What is `silu(gate) * up` in the input of a product."""

    gate: ov.Output
    up: ov.Output
    silu: ov.Node
    result: ov.Output


def _activation(down: Product) -> Activation | None:
    result = down.node.input_value(0)
    multiply = result.get_node()
    if multiply.get_type_name() != "Multiply":
        return None
    factors = [multiply.input_value(port) for port in (0, 1)]
    index = next((index for index, factor in enumerate(factors) if is_silu(factor.get_node())), None)
    if index is None or factors[0].get_partial_shape() != factors[1].get_partial_shape():
        return None
    silu = factors[index].get_node()
    return Activation(silu.input_value(0), factors[1 - index], silu, result)


def _network(
    down: Product, activation: Activation, products: Mapping[str, Product]
) -> tuple[Product, Product, Product] | None:
    """The products of the network `down(silu(gate(x)) * up(x))`, if only it reads them: no adapter, for example."""
    gate, up = (products.get(output.get_node().get_name()) for output in (activation.gate, activation.up))
    if gate is None or up is None or gate.x != up.x:
        return None
    inside = (gate.node, up.node, activation.silu, activation.result.get_node())
    return (gate, up, down) if all(map(_is_read_once, inside)) else None


def _is_read_once(node: ov.Node) -> bool:
    return len(node.output(0).get_target_inputs()) == 1


def with_the_same_input(found: Iterable[Product]) -> dict[tuple[str, int], list[Product]]:
    """Products that are computed at once, such as those of queries, keys and values, by the key of their input."""
    joined: dict[tuple[str, int], list[Product]] = {}
    for product in found:
        joined.setdefault(product.x, []).append(product)
    return joined


def _matrix_of(node: ov.Node) -> Matrix | None:
    """The matrix of a product with a transposed quantised matrix; None for any other node."""
    if node.get_type_name() != "MatMul":
        return None
    attributes = node.get_attributes()
    if attributes["transpose_a"] or not attributes["transpose_b"] or node.get_input_element_type(0) != ov.Type.f32:
        return None
    reshape = node.input_value(1).get_node()
    matrix = _quantised(reshape.input_value(0).get_node()) if reshape.get_type_name() == "Reshape" else None
    if matrix is None:
        return None
    outputs, groups, group = matrix.integers.get_output_shape(0)
    return matrix if list(reshape.get_output_shape(0)) == [outputs, groups * group] else None


def _quantised(node: ov.Node) -> Matrix | None:
    """The constants of `(integers - zeros) * scales`, if all have a form that the kernels read."""
    if node.get_type_name() != "Multiply":
        return None
    values, scales = (node.input_value(port).get_node() for port in (0, 1))
    zeros = ops.constant(np.zeros(0, np.float32))
    if values.get_type_name() == "Subtract":
        values, zeros = (values.input_value(port).get_node() for port in (0, 1))
    if values.get_type_name() != "Convert":
        return None
    matrix = Matrix(values.input_value(0).get_node(), scales, zeros)
    return matrix if _is_readable(matrix) else None


def _is_readable(matrix: Matrix) -> bool:
    if any(node.get_type_name() != "Constant" for node in matrix):
        return False
    shape = list(matrix.integers.get_output_shape(0))
    if len(shape) != 3 or shape[2] not in _GROUPS or matrix.integers.get_element_type() not in _INTEGERS:
        return False
    each = [*shape[:2], 1]
    return _has_shape(matrix.scales, each) and _has_shape(matrix.zeros, each, [1, 1, 1], [0])


def _has_shape(node: ov.Node, *shapes: list[int]) -> bool:
    return node.get_element_type() == ov.Type.f32 and list(node.get_output_shape(0)) in shapes
