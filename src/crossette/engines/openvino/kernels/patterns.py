"""Forms of a graph that stand for one instruction. All functions give None for another form, unless they say so."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import openvino as ov

from crossette.engines.openvino.kernels.program import Node, Output

Floats = npt.NDArray[np.float32]


class Unknown(Exception):
    """A form that no instruction computes."""


def require(condition: object) -> None:
    """Raise Unknown if a condition is not met."""
    if not condition:
        raise Unknown


def key_of(output: Output) -> tuple[str, int]:
    return output.get_node().get_name(), output.get_index()


def ancestors(model: ov.Model, output: Output) -> list[Node]:
    """The nodes that an output depends on, its own included, in an order in which they can be computed."""
    names: set[str] = set()
    waiting = [output.get_node()]
    while waiting:
        node = waiting.pop()
        if node.get_name() not in names:
            names.add(node.get_name())
            waiting += [value.get_node() for value in node.input_values()]
    return [node for node in model.get_ordered_ops() if node.get_name() in names]


def columns_of(output: Output) -> int:
    """How many numbers an output has for each token, one after the other. Raises Unknown.

    Its only dimension that is not fixed is the first one of more than one place.
    """
    shape = output.get_partial_shape()
    require(shape.rank.is_static)
    lengths = [dimension.get_length() if dimension.is_static else None for dimension in shape]
    require(lengths.count(None) == 1)
    index = lengths.index(None)
    require(all(length == 1 for length in lengths[:index]))
    return prod(length for length in lengths[index + 1 :] if length is not None)


def source_of(output: Output) -> Output:
    """Where the numbers of an output come from that only has another shape."""
    while _is_view(node := output.get_node()):
        output = node.input_value(0)
    return output


def _is_view(node: Node) -> bool:
    kind = node.get_type_name()
    if kind == "Transpose":
        order = node.input_value(1).get_node()
        shape = node.get_input_partial_shape(0)
        if order.get_type_name() != "Constant" or shape.rank.is_dynamic:
            return False
        moved = [axis for axis in order.get_data().tolist() if shape[axis].is_dynamic or shape[axis].get_length() != 1]
        return moved == sorted(moved)
    return kind in ("Reshape", "Unsqueeze", "Squeeze")


def _last_of(output: Output) -> int | None:
    """The length of the last axis, if it is fixed."""
    shape = output.get_partial_shape()
    if shape.rank.is_dynamic or not len(shape) or shape[-1].is_dynamic:
        return None
    length: int = shape[-1].get_length()
    return length


def _is_last(axis: Output, x: Output) -> bool:
    """Whether a constant names the last axis of `x`."""
    shape = x.get_partial_shape()
    return shape.rank.is_static and number_of(axis) in (-1, len(shape) - 1)


def _data(output: Output) -> npt.NDArray[np.generic] | None:
    node = output.get_node()
    if node.get_type_name() != "Constant":
        return None
    data: npt.NDArray[np.generic] = node.get_data()
    return data


def number_of(output: Output) -> float | None:
    """The only number of a constant."""
    data = _data(output)
    return None if data is None or data.size != 1 else float(data.item())


def vector_of(output: Output) -> Floats | None:
    """The numbers of a constant whose other axes have one place."""
    data = _data(output)
    if data is None or data.ndim == 0 or data.size != data.shape[-1] or output.get_element_type() != ov.Type.f32:
        return None
    return data.reshape(-1).astype(np.float32)


def _inputs(output: Output, kind: str) -> list[Output] | None:
    node = output.get_node()
    return list(node.input_values()) if node.get_type_name() == kind else None


def _either_way(output: Output, kind: str) -> Iterator[tuple[Output, Output]]:
    """The two inputs of a node, in both orders."""
    values = _inputs(output, kind)
    if values is not None and len(values) == 2:
        yield values[0], values[1]
        yield values[1], values[0]


class RmsNorm(NamedTuple):
    x: Output
    weights: Floats
    epsilon: float


def rms_norm_of(output: Output) -> RmsNorm | None:
    """`x * (1 / sqrt(mean(x ** 2) + epsilon)) * weights`, along the last axis."""
    for scaled, weight in _either_way(output, "Multiply"):
        weights = vector_of(weight)
        if weights is None or len(weights) != _last_of(output):
            continue
        for x, inverse in _either_way(scaled, "Multiply"):
            epsilon = _root_mean_square(inverse, x)
            if epsilon is not None:
                return RmsNorm(x, weights, epsilon)
    return None


def _root_mean_square(inverse: Output, x: Output) -> float | None:
    """The epsilon of `1 / sqrt(mean(x ** 2) + epsilon)`."""
    divided = _inputs(inverse, "Divide")
    if divided is None or number_of(divided[0]) != 1:
        return None
    root = _inputs(divided[1], "Sqrt")
    for mean, epsilon in _either_way(root[0], "Add") if root else ():
        reduced = _inputs(mean, "ReduceMean")
        power = _inputs(reduced[0], "Power") if reduced else None
        if reduced is None or power is None or number_of(power[1]) != 2 or power[0] != x:
            continue
        if _is_last(reduced[1], x) and mean.get_node().get_attributes()["keep_dims"]:
            return number_of(epsilon)
    return None


class Rotation(NamedTuple):
    """Of the first `rotated` columns of heads that have `columns`."""

    x: Output
    cosines: Output
    sines: Output
    columns: int
    rotated: int


def rotation_of(output: Output) -> Rotation | None:
    """The rotation of all columns, or of the first ones, which the others follow."""
    whole = _whole_rotation(output)
    parts = _inputs(output, "Concat")
    if whole is not None or parts is None or len(parts) != 2:
        return whole
    first = _whole_rotation(parts[0])
    split = parts[1].get_node()
    if first is None or first.x.get_node() != split or split.get_output_size() != 2:
        return None
    if split.get_type_name() != "VariadicSplit" or (first.x.get_index(), parts[1].get_index()) != (0, 1):
        return None
    x = split.input_value(0)
    columns = _last_of(x)
    if columns is None or not _is_last(split.input_value(1), x) or output.get_partial_shape() != x.get_partial_shape():
        return None
    return first._replace(x=x, columns=columns)


def _whole_rotation(output: Output) -> Rotation | None:
    """`x * cos + concat(-second, first) * sin`, of the two halves of x along the last axis."""
    for straight, crossed in _either_way(output, "Add"):
        for x, cosines in _either_way(straight, "Multiply"):
            for swapped, sines in _either_way(crossed, "Multiply"):
                columns = _last_of(x)
                if columns is not None and _is_swapped(swapped, x, columns):
                    return Rotation(x, cosines, sines, columns, columns)
    return None


def _is_swapped(output: Output, x: Output, columns: int) -> bool:
    parts = _inputs(output, "Concat")
    if parts is None or len(parts) != 2 or output.get_partial_shape() != x.get_partial_shape():
        return False
    half = columns // 2
    negated = [value for value, factor in _either_way(parts[0], "Multiply") if number_of(factor) == -1]
    return bool(negated) and _is_slice(negated[0], x, half, 2 * half) and _is_slice(parts[1], x, 0, half)


def _is_slice(output: Output, x: Output, begin: int, end: int) -> bool:
    values = _inputs(output, "Slice")
    if values is None or len(values) != 5 or values[0] != x:
        return False
    begins, ends, step = (number_of(value) for value in values[1:4])
    return (begins, ends, step) == (begin, end, 1) and _is_last(values[4], x)


class LowRank(NamedTuple):
    """What adapters add to a product."""

    product: Output
    x: Output
    scales: Output
    down: Output
    up: Output


def low_rank_of(output: Output) -> LowRank | None:
    """`product + ((x @ down.T) * scales) @ up.T` (adapters/graph.py)."""
    for product, branch in _either_way(output, "Add"):
        second = _floats_product(branch)
        for low, scales in _either_way(second[0], "Multiply") if second else ():
            first = _floats_product(low)
            if first is not None and second is not None:
                return LowRank(product, first[0], scales, first[1], second[1])
    return None


def _floats_product(output: Output) -> tuple[Output, Output] | None:
    """The factors of a product with a transposed constant of floats."""
    values = _inputs(output, "MatMul")
    if values is None or _data(values[1]) is None or values[1].get_element_type() != ov.Type.f32:
        return None
    attributes = output.get_node().get_attributes()
    is_transposed = attributes["transpose_b"] and not attributes["transpose_a"]
    return (values[0], values[1]) if is_transposed else None


class GatedActivation(NamedTuple):
    gate: Output
    up: Output
    gelu: bool
    """Whether the activation is GELU in its tanh form, not SiLU."""


def gate_of(output: Output) -> GatedActivation | None:
    """`activation(gate) * up`."""
    for activated, up in _either_way(output, "Multiply"):
        node = activated.get_node()
        if is_silu(node):
            return GatedActivation(node.input_value(0), up, gelu=False)
        if node.get_type_name() == "Gelu" and node.get_attributes().get("approximation_mode", "").upper() == "TANH":
            return GatedActivation(node.input_value(0), up, gelu=True)
    return None


def is_silu(node: Node) -> bool:
    """Whether this is `x / (1 + exp(-x))`: a Swish without a factor in the exponent, or with 1."""
    if node.get_type_name() != "Swish":
        return False
    return node.get_input_size() == 1 or number_of(node.input_value(1)) == 1


class Split(NamedTuple):
    """Some columns of an output, from `begin` on."""

    x: Output
    begin: int


def split_of(output: Output) -> Split:
    """Adjacent columns along the last axis, where this is the only one of more than one place. Raises Unknown."""
    node = output.get_node()
    x = node.input_value(0)
    require(_is_last(node.input_value(1), x) and _last_of(x) == columns_of(x))
    return Split(x, sum(columns_of(node.output(port)) for port in range(output.get_index())))
