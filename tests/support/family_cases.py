"""The model families of which tests have a tiny GGUF file, with logits by transformers (make_family_data.py)."""

from __future__ import annotations

import lzma
from pathlib import Path

import numpy as np
import numpy.typing as npt
from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter

from support.gguf_blocks import quantize

FOLDER = Path(__file__).parents[1] / "data" / "families"

NAMES = (
    "mixtral",
    "mistral3",
    "gemma3",
    "qwen3moe",
    "phi3",
    "phi3-longrope",
    "smollm3",
    "granite",
    "granitemoe",
    "gpt-oss",
    "qwen2moe",
    "starcoder2",
    "olmo2",
    "olmo3",
    "glm4",
)


def tokens(count: int = 100) -> list[int]:
    """A text longer than the windows and than the lengths before rope scaling."""
    return [3 + (7 * i * i + 5 * i) % 256 for i in range(count)]


def write_family(path: Path, name: str) -> Path:
    path.write_bytes(lzma.decompress((FOLDER / f"{name}.gguf.xz").read_bytes()))
    return path


def last_logits(name: str) -> npt.NDArray[np.float32]:
    """The logits of the last of `tokens()` by transformers."""
    values: npt.NDArray[np.float32] = np.load(FOLDER / f"{name}.npy")
    return values


def requantised(source: Path, path: Path, kind: GGMLQuantizationType) -> Path:
    """The same model with matrices of another type: those of experts, and of MLPs and attention without experts."""
    reader = GGUFReader(source)
    writer = GGUFWriter(path, reader.fields["general.architecture"].contents())
    for name, field in reader.fields.items():
        if not name.startswith("GGUF.") and name != "general.architecture":
            writer.add_key_value(
                name, field.contents(), field.types[0], field.types[1] if len(field.types) > 1 else None
            )
    for tensor in reader.tensors:
        shape = tuple(int(size) for size in reversed(tensor.shape))
        values = tensor.data.reshape(shape)
        if (
            len(shape) > 1
            and tensor.name.startswith("blk.")
            and tensor.name.endswith(".weight")
            and "_inp" not in tensor.name
        ):
            data = quantize(values.reshape(-1, shape[-1]), kind)
            writer.add_tensor(tensor.name, data.reshape(*shape[:-1], -1), raw_dtype=kind)
        else:
            writer.add_tensor(tensor.name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
