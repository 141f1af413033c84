"""The tensors of a safetensors file, by name, as f32 arrays."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from crossette.errors import ModelError

Tensor = npt.NDArray[np.float32]

_MAX_HEADER = 1 << 26


class Weights:
    """The tensors of a file, which is mapped and not read. Tensors may have a common prefix before their names."""

    def __init__(self, path: Path, *, anchor: str | None = None) -> None:
        """`anchor` is a name that the model must have: what precedes it in the file is the prefix."""
        self._path = path
        self._entries, self._start = _read_header(path)
        self._data = np.memmap(path, np.uint8, "r")
        self._prefix = "" if anchor is None else self._find_prefix(anchor)

    @property
    def names(self) -> tuple[str, ...]:
        """The names in the file, with their prefix."""
        return tuple(self._entries)

    def __getitem__(self, name: str) -> Tensor:
        """A tensor in f32. Raises ModelError for one that is missing or of a type that is not a float's."""
        entry = self._entries.get(self._prefix + name)
        if entry is None:
            raise ModelError(f"{self._path} has no tensor {self._prefix}{name}: the model's graph cannot be built.")
        start, end = entry["data_offsets"]
        raw = self._data[self._start + start : self._start + end]
        return _as_f32(raw, str(entry["dtype"]), self._path).reshape(entry["shape"])

    def _find_prefix(self, anchor: str) -> str:
        found = [name for name in self._entries if name == anchor or name.endswith("." + anchor)]
        if len(found) != 1:
            raise ModelError(f"{self._path} has {len(found)} tensors {anchor}, and one is expected.")
        return found[0].removesuffix(anchor)


def _as_f32(raw: npt.NDArray[np.uint8], kind: str, path: Path) -> Tensor:
    match kind:
        case "F32":
            return raw.view(np.float32)
        case "F16":
            return raw.view(np.float16).astype(np.float32)
        case "BF16":
            return (raw.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    raise ModelError(f"{path} has tensors of type {kind}, and only F32, F16 and BF16 are read.")


def _read_header(path: Path) -> tuple[dict[str, Any], int]:
    """The tensors by name, and where their data begins. Raises ModelError for a damaged file."""
    try:
        with path.open("rb") as file:
            (size,) = struct.unpack("<Q", file.read(8))
            header: dict[str, Any] = json.loads(file.read(min(size, _MAX_HEADER)))
    except (struct.error, ValueError) as error:
        raise ModelError(f"{path} is damaged: it is not a safetensors file ({error}).") from error
    header.pop("__metadata__", None)
    ends = [entry["data_offsets"][1] for entry in header.values()]
    if 8 + size + max(ends, default=0) != path.stat().st_size:
        raise ModelError(f"{path} is damaged: its size is not that of its tensors.")
    return header, 8 + size
