"""The tensors of a GGUF file as constants of a graph, whose weights are those of the file.

Matrices stay quantised: the plug-in's products unpack them as they go, whichever of these forms they have (measured
with AVX2 and AVX-512, docs/benchmarks/notes.md). What is made of a tensor goes through a scratch file, a piece at a
time, and is mapped from there, so that a file of any size takes little memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov
from gguf.constants import GGMLQuantizationType
from openvino import opset13 as ops

from crossette.engines.openvino.gguf.blocks import FORMATS, Bytes, Floats, Format, Integers, as_blocks
from crossette.engines.openvino.gguf.groups import Groups, read_groups
from crossette.engines.openvino.gguf.head import GgufHead, GgufTensor
from crossette.errors import ModelError

Order = npt.NDArray[np.int64]
"""Which row of the file each row of the graph is."""

PLAIN = {
    GGMLQuantizationType.F32: ov.Type.f32,
    GGMLQuantizationType.F16: ov.Type.f16,
    GGMLQuantizationType.BF16: ov.Type.bf16,
}
_PACKED = {2: ov.Type.u2, 4: ov.Type.u4}
_TABLE_BITS = 4
"""The fewest of a table in which the plug-in looks up rows without unpacking the whole of it."""
_PIECE = 1 << 22
"""Weights that are unpacked at once."""
_ALIGNMENT = 64
"""Of constants, in bytes."""


class Weights:
    """The tensors of a file, each made a constant when it is asked for. Constants are valid until it is closed."""

    def __init__(self, path: Path, head: GgufHead, folder: Path) -> None:
        self._data = np.memmap(path, np.uint8, mode="r")[head.data_start :]
        self._tensors = {tensor.name: tensor for tensor in head.tensors}
        self._used: set[str] = set()
        self._nodes: dict[str, ov.Node] = {}
        self._scratch = (folder / "weights.bin").open("w+b")
        self._shared: list[Bytes] = []  # openvino keeps no reference to the arrays that it is given

    def __enter__(self) -> Weights:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._nodes.clear()
        self._shared.clear()
        self._scratch.close()

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def check_all_used(self) -> None:
        """A tensor that nobody asked for is a part of the model that was left out. Raises ModelError."""
        if unused := sorted(self._tensors.keys() - self._used):
            raise ModelError(f"nothing is known to do with its tensors {', '.join(unused[:5])}")

    def vector(self, name: str, order: Order | None = None) -> Floats:
        """A tensor of one dimension."""
        tensor = self._tensor(name)
        values = _plain(self._bytes(tensor), tensor)
        return values if order is None else values[_fitting(order, tensor)]

    def table(self, name: str) -> ov.Node:
        """A matrix whose rows are looked up, which may be multiplied by as well."""
        return self.matrix(name, min_bits=_TABLE_BITS)

    def matrix(self, name: str, order: Order | None = None, min_bits: int = 0) -> ov.Node:
        """A matrix as f32 `[rows, columns]`, unpacked where it is used; its node has the tensor's name."""
        if (node := self._nodes.get(name)) is None:
            tensor = self._tensor(name)
            known = FORMATS.get(tensor.type)
            node = self._unquantised(tensor, order) if known is None else self._grouped(tensor, known, order, min_bits)
            node.set_friendly_name(name)
            self._nodes[name] = node
        return node

    def _tensor(self, name: str) -> GgufTensor:
        if name not in self._tensors:
            raise ModelError(f"it has no tensor '{name}'")
        self._used.add(name)
        return self._tensors[name]

    def _bytes(self, tensor: GgufTensor) -> Bytes:
        return self._data[tensor.offset : tensor.offset + tensor.size]

    def _unquantised(self, tensor: GgufTensor, order: Order | None) -> ov.Node:
        kind, shape = PLAIN[tensor.type], tensor.shape[::-1]
        rows = self._bytes(tensor).reshape(shape[0], -1)
        data = rows if order is None else self._kept([rows[_fitting(order, tensor)]])
        node = self._constant(f"{tensor.name}.weights", data, shape, kind)
        return node if kind == ov.Type.f32 else ops.convert(node, np.float32)

    def _grouped(self, tensor: GgufTensor, known: Format, order: Order | None, min_bits: int) -> ov.Node:
        """`(integers - zeros) * scales`, as the plug-in knows compressed weights."""
        columns, rows = tensor.shape
        blocks = as_blocks(self._bytes(tensor), tensor.type, rows)
        if order is not None:
            blocks = blocks[_fitting(order, tensor)]
        known = replace(known, bits=max(known.bits, min_bits))
        groups = read_groups(known, blocks, tensor.name)
        integers = self._kept(_packed(known, blocks, groups))
        shape = (rows, columns // known.group, known.group)
        node = ops.convert(
            self._constant(f"{tensor.name}.integers", integers, shape, _integer_type(known)), groups.scales.dtype.type
        )
        if (zeros := _zeros(groups)) is not None:
            node = ops.subtract(node, self._numbers(f"{tensor.name}.zeros", zeros))
        node = ops.multiply(node, self._numbers(f"{tensor.name}.scales", groups.scales))
        node = ops.reshape(node, np.array([rows, columns]), special_zero=False)
        return node if groups.scales.dtype == np.float32 else ops.convert(node, np.float32)

    def _numbers(self, name: str, values: npt.NDArray[Any]) -> ov.Node:
        kind = ov.Type.f16 if values.dtype == np.float16 else ov.Type.f32
        return self._constant(name, self._kept([values.view(np.uint8)]), (*values.shape, 1), kind)

    def _constant(self, name: str, data: Bytes, shape: tuple[int, ...], kind: ov.Type) -> ov.Node:
        self._shared.append(data)
        node = ov.op.Constant(ov.Tensor(data.reshape(-1), ov.Shape(shape), kind), shared_memory=True)
        node.set_friendly_name(name)
        return node

    def _kept(self, pieces: Iterator[Bytes] | list[Bytes]) -> Bytes:
        """Bytes, mapped from the scratch file."""
        start = self._scratch.seek(-(-self._scratch.seek(0, 2) // _ALIGNMENT) * _ALIGNMENT)
        for piece in pieces:
            self._scratch.write(np.ascontiguousarray(piece).data)
        self._scratch.flush()
        return np.memmap(self._scratch, np.uint8, mode="r", offset=start, shape=(self._scratch.tell() - start,))


def _plain(data: Bytes, tensor: GgufTensor) -> Floats:
    if tensor.type == GGMLQuantizationType.BF16:  # the upper half of an f32
        return (data.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    return data.view(np.float16 if tensor.type == GGMLQuantizationType.F16 else np.float32).astype(np.float32)


def _fitting(order: Order, tensor: GgufTensor) -> Order:
    if len(order) != tensor.shape[-1]:
        raise ModelError(f"its tensor '{tensor.name}' has {tensor.shape[-1]} rows where {len(order)} are expected")
    return order


def _integer_type(known: Format) -> ov.Type:
    signed = known.minima is None and not known.zero
    return _PACKED.get(known.bits, ov.Type.i8 if signed else ov.Type.u8)


def _zeros(groups: Groups) -> npt.NDArray[Any] | None:
    if isinstance(groups.zeros, np.ndarray):
        return groups.zeros
    return np.full((1, 1), groups.zeros, groups.scales.dtype) if groups.zeros else None


def _packed(known: Format, blocks: Bytes, groups: Groups) -> Iterator[Bytes]:
    """The integers as bytes, some rows at a time."""
    step = max(1, _PIECE // (groups.scales.shape[1] * known.group))
    for start in range(0, len(blocks), step):
        integers = known.integers(blocks[start : start + step]).reshape(-1, known.group)
        if groups.flat is not None:
            integers[groups.flat[start : start + step].ravel()] = 0
        yield pack(integers, known.bits)


def pack(integers: Integers, bits: int) -> Bytes:
    """Integers of 2, 4 or 8 bits in bytes, the first one in the lowest bits."""
    values = integers.view(np.uint8).reshape(-1, 8 // bits)
    packed = values[:, 0].copy()
    for place in range(1, 8 // bits):
        packed |= values[:, place] << place * bits
    return packed
