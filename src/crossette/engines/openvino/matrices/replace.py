"""Replace the products with quantised matrices of a graph by nodes of crossette's own operation.

A product has the form that the converter writes (gguf/weights.py): the matrix is `(integers - zeros) * scales` in
groups of columns, reshaped. Other products stay as they are.
"""

from __future__ import annotations

from typing import NamedTuple

import openvino as ov
from openvino.utils.node_factory import NodeFactory

OPERATION = "QuantisedProduct"
"""The type of the nodes."""

_INTEGERS = {ov.Type.i4, ov.Type.u4, ov.Type.i8, ov.Type.u8}
_GROUPS = (16, 32)


class Matrix(NamedTuple):
    """The constants of a quantised matrix: `[outputs, groups, columns of a group]`, and a number for each group."""

    integers: ov.Node
    scales: ov.Node
    zeros: ov.Node | None


def replace_products(model: ov.Model, factory: NodeFactory) -> int:
    """Replace all products that can be; `factory` knows the operation. Returns how many."""
    found = [(node, matrix) for node in model.get_ordered_ops() if (matrix := _matrix_of(node)) is not None]
    for node, matrix in found:
        constants = [matrix.integers, matrix.scales, *([matrix.zeros] if matrix.zeros is not None else [])]
        product = factory.create(OPERATION, [node.input_value(0), *(constant.output(0) for constant in constants)])
        product.set_friendly_name(node.get_friendly_name())
        node.output(0).replace(product.output(0))
    return len(found)


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
    zeros = None
    if values.get_type_name() == "Subtract":
        values, zeros = (values.input_value(port).get_node() for port in (0, 1))
    if values.get_type_name() != "Convert":
        return None
    matrix = Matrix(values.input_value(0).get_node(), scales, zeros)
    return matrix if _is_readable(matrix) else None


def _is_readable(matrix: Matrix) -> bool:
    if any(node is not None and node.get_type_name() != "Constant" for node in matrix):
        return False
    shape = list(matrix.integers.get_output_shape(0))
    if len(shape) != 3 or shape[2] not in _GROUPS or matrix.integers.get_element_type() not in _INTEGERS:
        return False
    return _numbers(matrix.scales, [*shape[:2], 1]) and (
        matrix.zeros is None or _numbers(matrix.zeros, [*shape[:2], 1]) or _numbers(matrix.zeros, [1, 1, 1])
    )


def _numbers(node: ov.Node, shape: list[int]) -> bool:
    return node.get_element_type() == ov.Type.f32 and list(node.get_output_shape(0)) == shape
