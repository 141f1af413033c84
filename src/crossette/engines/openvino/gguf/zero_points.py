"""Exact zero points for a graph that openvino_genai made of a GGUF file.

The converter keeps a group's minimum as a whole number of its scale, of 4 bits. Minima are no such multiples: the
error is as large as that of the quantisation itself, and has one sign for a whole group. In 16 bits it is gone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov
from openvino import opset13 as ops

from crossette.engines.openvino.gguf.blocks import READERS, Groups, ZeroPoints, pack, read_groups, with_zero_points
from crossette.engines.openvino.gguf.head import GgufHead, GgufTensor
from crossette.errors import ModelError


def correct_zero_points(graph: Path, gguf: Path, head: GgufHead) -> None:
    """Give every group of a Q4_1 or Q4_K matrix the zero point that the file says. Raises ModelError.

    A matrix of the graph is known by its integers and scales, which are those of the file, bit for bit.
    """
    tensors = [tensor for tensor in head.tensors if tensor.type in READERS and len(tensor.shape) > 1]
    if not tensors:
        return
    model = ov.Core().read_model(graph)
    places = {place.key: place for place in _places(model)}
    data = np.memmap(gguf, np.uint8, mode="r")[head.data_start :]
    for tensor in tensors:
        groups = _turned(_read(data, tensor), tensor, head)
        place = places.get(_key(pack(groups.integers), groups.scales.astype(np.float16)))
        if place is None:
            raise ModelError(f"Can't convert {gguf}: the graph that was made of it does not hold '{tensor.name}'.")
        place.set(with_zero_points(groups))
    model.validate_nodes_and_infer_types()
    save_over(model, graph)


def save_over(model: ov.Model, path: Path) -> None:
    """Write a model in the place of the file that its constants may be mapped from."""
    new = path.with_stem("new")
    ov.save_model(model, new, compress_to_fp16=False)
    for suffix in (".xml", ".bin"):
        new.with_suffix(suffix).replace(path.with_suffix(suffix))


@dataclass(frozen=True)
class _Place:
    """Where a graph has 4-bit integers in groups, by its nodes: `(integers - zero points) * scales`."""

    integers: Any  # the nodes: openvino has no types
    convert: Any
    subtract: Any
    multiply: Any

    @property
    def key(self) -> str:
        return _key(self.integers.data, self.multiply.input_value(1).get_node().data)

    def set(self, weights: ZeroPoints) -> None:
        shape = [*weights.scales.shape, 1]
        packed = ov.Tensor(pack(weights.integers), self.integers.get_output_shape(0), ov.Type.u4)
        self.convert.input(0).replace_source_output(ov.op.Constant(packed, shared_memory=False).output(0))
        self.subtract.input(1).replace_source_output(ops.constant(weights.zero_points.reshape(shape)).output(0))
        self.multiply.input(1).replace_source_output(ops.constant(weights.scales.reshape(shape)).output(0))


def _places(model: ov.Model) -> Iterator[_Place]:
    for subtract in model.get_ops():
        if subtract.get_type_name() == "Subtract":
            convert = subtract.input_value(0).get_node()
            integers = convert.input_value(0).get_node()
            if integers.get_type_name() == "Constant" and integers.get_element_type() == ov.Type.u4:
                (multiply,) = (port.get_node() for port in subtract.output(0).get_target_inputs())
                yield _Place(integers, convert, subtract, multiply)


def _key(integers: npt.NDArray[np.uint8], scales: npt.NDArray[np.float16]) -> str:
    return sha256(integers.tobytes() + scales.tobytes()).hexdigest()


def _read(data: npt.NDArray[np.uint8], tensor: GgufTensor) -> Groups:
    return read_groups(data[tensor.offset : tensor.offset + tensor.size], tensor.type, tensor.shape[1])


def _turned(groups: Groups, tensor: GgufTensor, head: GgufHead) -> Groups:
    """For llama, queries and keys in the order of the graph: first the even features of a head, then the odd ones."""
    architecture = head.text("general.architecture")
    if architecture != "llama" or not tensor.name.endswith(("attn_q.weight", "attn_k.weight")):
        return groups
    heads = tensor.shape[1] // (head.number("llama.rope.dimension_count") or tensor.shape[1])
    order = np.arange(tensor.shape[1]).reshape(heads, -1, 2).swapaxes(1, 2).ravel()
    return Groups(groups.integers[order], groups.scales[order], groups.minima[order])
