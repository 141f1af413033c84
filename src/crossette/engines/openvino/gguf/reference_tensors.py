"""The tensors of a GGUF file for the reference implementation.

Matrices are dequantised by the gguf package when they are used, a few million weights at a time, so memory use does not
grow with the file.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from gguf.constants import GGML_QUANT_SIZES
from gguf.quants import dequantize

from crossette.engines.openvino.gguf.head import GgufHead, GgufTensor
from crossette.errors import ModelError

Floats = npt.NDArray[np.float32]

_PIECE = 1 << 22
"""Weights dequantised at a time: 16 MB of f32."""


class Tensors:
    """The tensors of a file, memory-mapped, and dequantised on access."""

    def __init__(self, path: Path, head: GgufHead) -> None:
        self._path = path
        self._bytes = np.memmap(path, np.uint8, mode="r")
        self._start = head.data_start
        self._tensors = {tensor.name: tensor for tensor in head.tensors}
        self._unused = set(self._tensors)

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def shape(self, name: str) -> tuple[int, ...]:
        """Columns, rows, and the number of experts if there are several."""
        return self._tensor(name).shape

    def rows(self, name: str, indices: slice | npt.NDArray[np.int64]) -> Floats:
        """Some rows of a matrix, `[rows, columns]`; those of experts are counted through."""
        tensor = self._tensor(name)
        block, block_bytes = GGML_QUANT_SIZES[tensor.type]
        columns = tensor.shape[0]
        start = self._start + tensor.offset
        packed = self._bytes[start : start + tensor.size].reshape(-1, columns // block * block_bytes)
        return np.asarray(dequantize(np.ascontiguousarray(packed[indices]), tensor.type), np.float32)

    def vector(self, name: str) -> Floats:
        """A tensor of one dimension."""
        return self.rows(name, slice(None)).reshape(-1)

    def product(self, x: Floats, name: str, expert: int | None = None) -> Floats:
        """`x` times the transposed matrix, `[rows of x, rows of the matrix]`, plus its bias if it has one.

        `expert` chooses one of several matrices.
        """
        columns, rows = self._tensor(f"{name}.weight").shape[:2]
        first = rows * (expert or 0)
        result = np.empty((len(x), rows), np.float32)
        step = max(1, _PIECE // columns)
        for begin in range(0, rows, step):
            end = min(begin + step, rows)
            result[:, begin:end] = x @ self.rows(f"{name}.weight", slice(first + begin, first + end)).T
        if f"{name}.bias" in self:
            bias = self.vector(f"{name}.bias")
            result += bias if expert is None else bias.reshape(-1, rows)[expert]
        return result

    def check_all_used(self) -> None:
        """Raise ModelError for unused tensors: they would be parts of the model that were left out."""
        if self._unused:
            names = ", ".join(sorted(self._unused)[:5])
            raise ModelError(f"Can't compute {self._path}: it has unsupported tensors: {names}.")

    def _tensor(self, name: str) -> GgufTensor:
        if name not in self._tensors:
            raise ModelError(f"Can't compute {self._path}: it has no tensor '{name}'.")
        self._unused.discard(name)
        return self._tensors[name]
