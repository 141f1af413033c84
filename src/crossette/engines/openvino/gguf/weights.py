"""Convert the tensors of a GGUF file to constants of a graph with the same weights.

Matrices stay quantised: the plug-in's kernels dequantise any of these forms on the fly (measured with AVX2 and AVX-512,
docs/benchmarks/notes.md). Constants are written to a scratch file, a piece at a time, and memory-mapped from there, so
that a file of any size takes little memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import prod
from pathlib import Path
from types import TracebackType

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
"""For each row of the graph, its index in the file."""

PLAIN = {
    GGMLQuantizationType.F32: ov.Type.f32,
    GGMLQuantizationType.F16: ov.Type.f16,
    GGMLQuantizationType.BF16: ov.Type.bf16,
}
_UNSIGNED = {2: ov.Type.u2, 4: ov.Type.u4, 8: ov.Type.u8}
_SIGNED = {4: ov.Type.i4, 8: ov.Type.i8}
_TABLE_BITS = 4
"""Fewest bits of lookup tables and experts' matrices: with fewer, the plug-in would dequantise all for each use."""
_PIECE = 1 << 22
"""Weights unpacked at a time."""
_ALIGNMENT = 64
"""Of constants, in bytes."""


class Weights:
    """The tensors of a file, each converted to a constant on first use. Constants are valid until this is closed."""

    def __init__(self, path: Path, head: GgufHead, folder: Path) -> None:
        self._data = np.memmap(path, np.uint8, mode="r")[head.data_start :]
        self._tensors = {tensor.name: tensor for tensor in head.tensors}
        self._used: set[str] = set()
        self._nodes: dict[str, ov.Node] = {}
        self._scratch = (folder / "weights.bin").open("w+b")
        self._shared: list[Bytes] = []  # openvino keeps no reference to shared arrays

    def __enter__(self) -> Weights:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._nodes.clear()
        self._shared.clear()
        self._scratch.close()

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def check_all_used(self) -> None:
        """Raise ModelError for unused tensors: they would be parts of the model that were left out."""
        if unused := sorted(self._tensors.keys() - self._used):
            raise ModelError(f"it has unsupported tensors: {', '.join(unused[:5])}")

    def vector(self, name: str, order: Order | None = None) -> Floats:
        """A tensor of one dimension."""
        tensor = self._tensor(name)
        values = _as_floats(self._bytes(tensor), tensor)
        return values if order is None else values[_checked(order, tensor)]

    def shape(self, name: str, rank: int) -> tuple[int, ...]:
        """The dimensions of a tensor, as in the file: columns first. Raises ModelError for another number of them."""
        shape = self._tensor(name).shape
        if len(shape) != rank:
            raise ModelError(f"its tensor '{name}' has {len(shape)} dimensions where {rank} are expected")
        return shape

    def table(self, name: str) -> ov.Node:
        """A matrix whose rows are looked up; it may be used in products as well."""
        return self.matrix(name, min_bits=_TABLE_BITS)

    def matrix(self, name: str, order: Order | None = None, min_bits: int = 0) -> ov.Node:
        """A matrix as f32 `[rows, columns]`, dequantised on use; its node has the tensor's name."""
        if (node := self._nodes.get(name)) is None:
            tensor = self._tensor(name)
            columns, height = self.shape(name, 2)
            rows = self._rows(tensor)
            if order is not None:
                rows = rows[_checked(order, tensor)]
            node = self._nodes[name] = self._converted(name, tensor.type, rows, (height, columns), min_bits)
        return node

    def experts(self, *names: str) -> ov.Node:
        """The matrices of all experts as f32 `[experts, rows, columns]`; rows of several tensors take turns.

        The node has the names of the tensors, with commas.
        """
        tensors = [self._tensor(name) for name in names]
        if len({(tensor.type, tensor.shape) for tensor in tensors}) > 1:
            raise ModelError(f"its tensors {', '.join(names)} differ in type or shape")
        columns, height, experts = self.shape(names[0], 3)
        parts = [self._rows(tensor) for tensor in tensors]
        rows = parts[0] if len(parts) == 1 else np.stack(parts, axis=1).reshape(experts * height * len(parts), -1)
        shape = (experts, height * len(parts), columns)
        return self._converted(",".join(names), tensors[0].type, rows, shape, _TABLE_BITS)

    def expert_biases(self, *names: str) -> Floats:
        """The biases of all experts, `[experts, 1, rows]`; those of several tensors take turns."""
        counts = {self.shape(name, 2) for name in names}
        if len(counts) > 1:
            raise ModelError(f"its tensors {', '.join(names)} differ in shape")
        parts = [self.vector(name).reshape(next(iter(counts))[1], -1) for name in names]
        return np.stack(parts, axis=-1).reshape(len(parts[0]), 1, -1)

    def _tensor(self, name: str) -> GgufTensor:
        if name not in self._tensors:
            raise ModelError(f"it has no tensor '{name}'")
        self._used.add(name)
        return self._tensors[name]

    def _bytes(self, tensor: GgufTensor) -> Bytes:
        return self._data[tensor.offset : tensor.offset + tensor.size]

    def _rows(self, tensor: GgufTensor) -> Bytes:
        """The bytes of each row, `[rows, bytes]`; rows of several matrices follow each other."""
        return self._bytes(tensor).reshape(prod(tensor.shape[1:]), -1)

    def _converted(
        self, name: str, kind: GGMLQuantizationType, rows: Bytes, shape: tuple[int, ...], min_bits: int
    ) -> ov.Node:
        layout = FORMATS.get(kind)
        if layout is None:
            node = self._plain(name, PLAIN[kind], rows, shape)
        else:
            layout = replace(layout, bits=max(layout.bits, min_bits))
            node = self._grouped(name, layout, as_blocks(rows, kind, len(rows)), shape)
        node.set_friendly_name(name)
        return node

    def _plain(self, name: str, kind: ov.Type, rows: Bytes, shape: tuple[int, ...]) -> ov.Node:
        data = rows if np.may_share_memory(rows, self._data) else self._mapped([rows])
        node = self._constant(f"{name}.weights", data, shape, kind)
        return node if kind == ov.Type.f32 else ops.convert(node, np.float32)

    def _grouped(self, name: str, layout: Format, blocks: Bytes, shape: tuple[int, ...]) -> ov.Node:
        """`(integers - zeros) * scales`, the form in which the plug-in recognises compressed weights."""
        groups = read_groups(layout, blocks, name)
        integers = self._mapped(_packed(layout, blocks, groups))
        split = (*shape[:-1], shape[-1] // layout.group)
        node = self._constant(f"{name}.integers", integers, (*split, layout.group), _integer_type(layout))
        node = ops.convert(node, np.float32)
        if (zeros := _zeros(groups)) is not None:
            # One zero point for all is broadcast.
            zero_shape = split if zeros.size > 1 else (1,) * len(split)
            node = ops.subtract(node, self._numbers(f"{name}.zeros", zeros, zero_shape))
        node = ops.multiply(node, self._numbers(f"{name}.scales", groups.scales, split))
        return ops.reshape(node, np.array(shape), special_zero=False)

    def _numbers(self, name: str, values: Floats, shape: tuple[int, ...]) -> ov.Node:
        """A number for each group."""
        return self._constant(name, self._mapped([values.view(np.uint8)]), (*shape, 1), ov.Type.f32)

    def _constant(self, name: str, data: Bytes, shape: tuple[int, ...], kind: ov.Type) -> ov.Node:
        self._shared.append(data)
        node = ov.op.Constant(ov.Tensor(data.reshape(-1), ov.Shape(shape), kind), shared_memory=True)
        node.set_friendly_name(name)
        return node

    def _mapped(self, pieces: Iterator[Bytes] | list[Bytes]) -> Bytes:
        """Write bytes to the scratch file, and map them from there."""
        start = self._scratch.seek(-(-self._scratch.seek(0, 2) // _ALIGNMENT) * _ALIGNMENT)
        for piece in pieces:
            self._scratch.write(np.ascontiguousarray(piece).data)
        self._scratch.flush()
        return np.memmap(self._scratch, np.uint8, mode="r", offset=start, shape=(self._scratch.tell() - start,))


def _as_floats(data: Bytes, tensor: GgufTensor) -> Floats:
    if tensor.type == GGMLQuantizationType.BF16:  # the upper half of an f32
        return (data.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    return data.view(np.float16 if tensor.type == GGMLQuantizationType.F16 else np.float32).astype(np.float32)


def _checked(order: Order, tensor: GgufTensor) -> Order:
    if len(order) != tensor.shape[-1]:
        raise ModelError(f"its tensor '{tensor.name}' has {tensor.shape[-1]} rows where {len(order)} are expected")
    return order


def _integer_type(layout: Format) -> ov.Type:
    return (_SIGNED if layout.minima is None and not layout.zero else _UNSIGNED)[layout.bits]


def _zeros(groups: Groups) -> Floats | None:
    if isinstance(groups.zeros, np.ndarray):
        return groups.zeros
    return np.full((1, 1), groups.zeros, np.float32) if groups.zeros else None


def _packed(layout: Format, blocks: Bytes, groups: Groups) -> Iterator[Bytes]:
    """The packed integers, some rows at a time."""
    step = max(1, _PIECE // (groups.scales.shape[1] * layout.group))
    for start in range(0, len(blocks), step):
        integers = layout.integers(blocks[start : start + step]).reshape(-1, layout.group)
        if groups.flat is not None:
            integers[groups.flat[start : start + step].ravel()] = 0
        yield pack(integers, layout.bits)


def pack(integers: Integers, bits: int) -> Bytes:
    """Pack integers of 2, 4 or 8 bits into bytes, the first one in the lowest bits."""
    values = (integers.view(np.uint8) & np.uint8((1 << bits) - 1)).reshape(-1, 8 // bits)
    packed = values[:, 0].copy()
    for index in range(1, 8 // bits):
        packed |= values[:, index] << index * bits
    return packed
