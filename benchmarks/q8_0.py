"""The default model's weights as Q8_0 and Q4_0, requantised from Q4_1. For speed measurements only."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import gguf
import numpy as np
import numpy.typing as npt
from gguf.quants import dequantize, quantize

from crossette.folders import cache_folder
from crossette.models.catalogue import DEFAULT
from crossette.models.fetch import sha256_of
from crossette.models.pull import no_check, no_progress
from crossette.models.sources import Sources

Q4_0 = gguf.GGMLQuantizationType.Q4_0
Q8_0 = gguf.GGMLQuantizationType.Q8_0

Packed = tuple[npt.NDArray[np.uint8 | np.float32 | np.float16], gguf.GGMLQuantizationType]
"""Rows of a matrix as bytes, and their type."""


def default_gguf() -> Path:
    """The default model's GGUF file, downloaded once and cached: the store has only the converted model."""
    file = _folder() / DEFAULT.hub_file
    if file.is_file() and sha256_of(file) == DEFAULT.sha256:
        return file
    with TemporaryDirectory(dir=file.parent) as temporary:
        return Sources().catalogue(DEFAULT, Path(temporary), no_progress, no_check).path.replace(file)


def q8_0_gguf() -> Path:
    """The same model in Q8_0, created on the first call."""
    return created(f"{DEFAULT.name}-q8_0.gguf", lambda path: requantize(default_gguf(), path))


def q4_0_gguf() -> Path:
    """The same model in Q4_0, created on the first call."""
    q4_0 = gguf.LlamaFileType.MOSTLY_Q4_0
    return created(f"{DEFAULT.name}-q4_0.gguf", lambda path: requantize(default_gguf(), path, _as_q4_0, q4_0))


def created(name: str, write: Callable[[Path], object]) -> Path:
    """A file of the cache folder, which is written if it is not there."""
    file = _folder() / name
    if not file.is_file():
        with TemporaryDirectory(dir=file.parent) as temporary:
            write(Path(temporary) / name)
            (Path(temporary) / name).replace(file)
    return file


def _as_q4_0(name: str, weight: npt.NDArray[np.float32]) -> Packed:
    return quantize(weight, Q4_0), Q4_0


def _as_q8_0(name: str, weight: npt.NDArray[np.float32]) -> Packed:
    return quantize(weight, Q8_0), Q8_0


def requantize(
    source: Path,
    target: Path,
    pack: Callable[[str, npt.NDArray[np.float32]], Packed] = _as_q8_0,
    file_type: gguf.LlamaFileType = gguf.LlamaFileType.MOSTLY_Q8_0,
) -> None:
    """Copy a GGUF file; each quantised tensor is replaced by `pack(name, weights)`."""
    reader = gguf.GGUFReader(source)
    architecture = reader.fields[gguf.Keys.General.ARCHITECTURE].contents()
    writer = gguf.GGUFWriter(target, architecture)
    for field in reader.fields.values():
        if field.name == gguf.Keys.General.ARCHITECTURE or field.name.startswith("GGUF."):
            continue  # the writer sets these itself
        is_array = field.types[0] == gguf.GGUFValueType.ARRAY
        value = int(file_type) if field.name == gguf.Keys.General.FILE_TYPE else field.contents()
        writer.add_key_value(field.name, value, field.types[0], sub_type=field.types[-1] if is_array else None)
    for tensor in reader.tensors:
        if tensor.tensor_type in (gguf.GGMLQuantizationType.F32, gguf.GGMLQuantizationType.F16):
            writer.add_tensor(tensor.name, tensor.data)
        else:
            data, kind = pack(tensor.name, dequantize(tensor.data, tensor.tensor_type))
            writer.add_tensor(tensor.name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _folder() -> Path:
    folder = cache_folder() / "benchmarks"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
