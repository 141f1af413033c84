"""Replace the products with quantised matrices of a graph by nodes of crossette's own operation.

A product has the form that the converter writes (gguf/weights.py): the matrix is `(integers - zeros) * scales` in
groups of columns, reshaped. Other products stay as they are.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import openvino as ov
from openvino import opset13 as ops
from openvino.utils.node_factory import NodeFactory

OPERATION = "QuantisedProduct"
"""The type of the nodes."""

_INTEGERS = {ov.Type.i4, ov.Type.u4, ov.Type.i8, ov.Type.u8}
_GROUPS = (16, 32)


class Matrix(NamedTuple):
    """The constants of a quantised matrix: `[outputs, groups, columns of a group]`, and numbers of the groups."""

    integers: ov.Node
    scales: ov.Node
    zeros: ov.Node
    """One for each group, or for all, or none."""


def replace_products(model: ov.Model, factory: NodeFactory, filler: ov.Output | None = None) -> int:
    """Replace all products that can be; `factory` knows the operation. Returns how many.

    `filler` is the number of rows at the end of a step that need no results. Rows that were gathered have none.
    """
    found = [(node, matrix) for node in model.get_ordered_ops() if (matrix := _matrix_of(node)) is not None]
    for products in _with_the_same_input(found):
        x = products[0][0].input_value(0)
        has_filler = filler is not None and x.get_node().get_type_name() != "Gather"
        skipped = filler if has_filler else ops.constant(np.zeros(0, np.int32)).output(0)
        constants = [constant.output(0) for _, matrix in products for constant in matrix]
        joined = factory.create(OPERATION, [x, skipped, *constants])
        joined.set_friendly_name(", ".join(node.get_friendly_name() for node, _ in products))
        for (node, _), output in zip(products, joined.outputs(), strict=True):
            node.output(0).replace(output)
    return len(found)


def _with_the_same_input(found: list[tuple[ov.Node, Matrix]]) -> list[list[tuple[ov.Node, Matrix]]]:
    """Products that are computed at once, such as those of queries, keys and values."""
    joined: dict[tuple[str, int], list[tuple[ov.Node, Matrix]]] = {}
    for node, matrix in found:
        x = node.input_value(0)
        joined.setdefault((x.get_node().get_name(), x.get_index()), []).append((node, matrix))
    return list(joined.values())


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
