"""Read the header of a GGUF file: its metadata and its table of tensors. Reads no weights.

The gguf package has a reader too, but it makes numpy views of every token and merge: 5 s for a small
vocabulary, 20 s for a large one, where this takes 0.2 s. Its tables of types are used.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import BinaryIO

from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFValueType

from crossette.errors import ModelError

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_KNOWN_STARTS = {
    b"PK": "a zip file",
    b"\x1f\x8b": "a gzip file",
    b"version https://git-lfs": "a Git LFS pointer, not the file itself",
    b"<": "a web page or an XML file",
    b"ggml": "a file of the older GGML format",
    b"ggjt": "a file of the older GGML format",
}
_SCALARS = {
    GGUFValueType.UINT8: "<B",
    GGUFValueType.INT8: "<b",
    GGUFValueType.UINT16: "<H",
    GGUFValueType.INT16: "<h",
    GGUFValueType.UINT32: "<I",
    GGUFValueType.INT32: "<i",
    GGUFValueType.FLOAT32: "<f",
    GGUFValueType.BOOL: "<?",
    GGUFValueType.UINT64: "<Q",
    GGUFValueType.INT64: "<q",
    GGUFValueType.FLOAT64: "<d",
}

_LARGEST = 1 << 28
"""Bytes of the largest value that is read: vocabularies have a fiftieth of that."""

Value = int | float | bool | str | list["Value"]


@dataclass(frozen=True, slots=True)
class GgufTensor:
    name: str
    shape: tuple[int, ...]
    type: GGMLQuantizationType
    offset: int
    """Offset of its data from the first tensor's, in bytes."""

    @property
    def size(self) -> int:
        block, block_bytes = GGML_QUANT_SIZES[self.type]
        return prod(self.shape) // block * block_bytes


@dataclass(frozen=True, slots=True)
class GgufHead:
    metadata: Mapping[str, Value]
    tensors: tuple[GgufTensor, ...]
    data_start: int = 0
    """Offset of the first tensor's data in the file, in bytes."""

    def number(self, key: str) -> int | None:
        value = self.metadata.get(key)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    def real(self, key: str) -> float | None:
        value = self.metadata.get(key)
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None

    def text(self, key: str) -> str | None:
        value = self.metadata.get(key)
        return value if isinstance(value, str) else None

    def list(self, key: str) -> list[Value]:
        value = self.metadata.get(key)
        return value if isinstance(value, list) else []


def read_head(path: Path) -> GgufHead:
    """Read and check a file's header. Raises ModelError, which names the actual file type if it is known."""
    try:
        with path.open("rb") as file:
            return read_head_from(file, path.stat().st_size, str(path))
    except OSError as error:
        raise ModelError(f"Can't read {path}: {error.strerror or error}.") from error


def read_head_from(file: BinaryIO, size: int, name: str) -> GgufHead:
    """As `read_head`, of a stream of `size` bytes that is called `name`. Reads no byte after the header."""
    start = file.read(len(_MAGIC))
    if start != _MAGIC:
        raise _not_gguf(name, start + file.read(28))
    return _Reader(name, file, size).head()


def _not_gguf(name: str, start: bytes) -> ModelError:
    for known, file_type in _KNOWN_STARTS.items():
        if start.startswith(known):
            shown = known.decode("latin-1") if known.isascii() and known.decode().isprintable() else known.hex()
            return ModelError(f"Can't read {name}: it starts with '{shown}', so it is {file_type}, not GGUF.")
    return ModelError(f"Can't read {name}: it starts with {start[:4]!r}, not with 'GGUF', so it is not GGUF.")


class _Reader:
    """Reads values sequentially, and never past the end of the file, whatever a length field contains."""

    def __init__(self, name: str, file: BinaryIO, size: int) -> None:
        self._name = name
        self._file = file
        self._left = size - len(_MAGIC)
        self._size = size

    def head(self) -> GgufHead:
        version = self._scalar(GGUFValueType.UINT32)
        if version not in _VERSIONS:
            raise ModelError(f"Can't read {self._name}: it is GGUF version {version}; versions 2 and 3 are supported.")
        num_tensors, num_values = self._count(), self._count()
        metadata = {self._string(): self._value(self._type()) for _ in range(num_values)}
        tensors = tuple(self._tensor() for _ in range(num_tensors))
        alignment = GgufHead(metadata, ()).number("general.alignment") or 32
        head = GgufHead(metadata, tensors, -(-(self._size - self._left) // alignment) * alignment)
        self._check_complete(head)
        return head

    def _check_complete(self, head: GgufHead) -> None:
        needed = max((head.data_start + tensor.offset + tensor.size for tensor in head.tensors), default=0)
        if needed > self._size:
            raise self._truncated(f"its tensors end at byte {needed}")

    def _truncated(self, detail: str) -> ModelError:
        return ModelError(f"Can't read {self._name}: it ends at byte {self._size}, but {detail}. Download it again.")

    def _bytes(self, count: int) -> bytes:
        if _LARGEST < count <= self._left:
            raise ModelError(f"Can't read {self._name}: a value of its header has {count} bytes, so it is damaged.")
        data = self._file.read(count) if count <= self._left else b""
        if len(data) < count:
            raise self._truncated(f"{count} more bytes must follow byte {self._size - self._left}")
        self._left -= count
        return data

    def _scalar(self, kind: GGUFValueType) -> int | float | bool:
        layout = _SCALARS[kind]
        value: int | float | bool = struct.unpack(layout, self._bytes(struct.calcsize(layout)))[0]
        return value

    def _count(self) -> int:
        return int(self._scalar(GGUFValueType.UINT64))

    def _string(self) -> str:
        return self._bytes(self._count()).decode("utf-8", "replace")

    def _type(self) -> GGUFValueType:
        number = int(self._scalar(GGUFValueType.UINT32))
        try:
            return GGUFValueType(number)
        except ValueError as error:
            raise ModelError(f"Can't read {self._name}: it has a value of unknown type {number}.") from error

    def _value(self, kind: GGUFValueType) -> Value:
        if kind is GGUFValueType.STRING:
            return self._string()
        if kind is GGUFValueType.ARRAY:
            return self._array(self._type(), self._count())
        return self._scalar(kind)

    def _array(self, kind: GGUFValueType, count: int) -> Value:
        if kind in _SCALARS:
            layout = _SCALARS[kind]
            data = self._bytes(count * struct.calcsize(layout))
            return [value for (value,) in struct.iter_unpack(layout, data)]
        return [self._value(kind) for _ in range(count)]

    def _tensor(self) -> GgufTensor:
        name = self._string()
        dimensions = int(self._scalar(GGUFValueType.UINT32))
        shape = tuple(self._count() for _ in range(dimensions))
        number, offset = int(self._scalar(GGUFValueType.UINT32)), self._count()
        try:
            return GgufTensor(name, shape, GGMLQuantizationType(number), offset)
        except ValueError as error:
            raise ModelError(f"Can't read {self._name}: '{name}' has the unknown type {number}.") from error
