"""The measured GGUF files: the default model, the same weights in other types, and tiny models."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
import numpy.typing as npt
from q8_0 import Packed, default_gguf, requantize

from crossette.models.catalogue import DEFAULT
from support.gguf_blocks import fitting, quantize
from support.gguf_mixtures import FLOATS, MIXED, PURE, SUPER_BLOCKS, weights_of
from support.tiny_model import write_tiny_gguf

PROSE = Path(__file__).parents[2] / "tests" / "data" / "prose.txt"
LAYERS = 30
"""Layers of the default model."""
TINY_LAYERS = 2
FAMILIES = (("llama", 512), ("qwen2", 512), ("qwen3", 512))
"""Architecture and width of the tiny models; super-blocks need a multiple of 256."""
SHARPNESS = 3.0
"""Makes the mean entropy of a tiny model's predictions about half of the maximum."""


@dataclass(frozen=True)
class Measurable:
    """A file to be written: with the default model's weights, or a tiny model with random ones."""

    quantization: str
    family: str
    width: int | None = None
    """None for the default model."""

    @property
    def is_real(self) -> bool:
        return self.width is None

    @property
    def is_download(self) -> bool:
        """Whether it is the default model's published file."""
        return self.is_real and self.quantization == "Q4_1"

    def write(self, folder: Path) -> Path:
        if self.is_download:
            return default_gguf()
        path = folder / "model.gguf"
        self.write_to(path)
        return path

    def write_to(self, path: Path) -> None:
        if self.width is None:
            requantize(default_gguf(), path, self._pack, self._file_type)
            return
        weights = weights_of(self.quantization, TINY_LAYERS, sharpness=SHARPNESS)
        kind = self._file_type
        write_tiny_gguf(
            path, layers=TINY_LAYERS, width=self.width, architecture=self.family, weights=weights, file_type=kind
        )

    @property
    def _file_type(self) -> gguf.LlamaFileType:
        names = (f"MOSTLY_{self.quantization}", f"MOSTLY_{self.quantization}_S", f"ALL_{self.quantization}")
        return next(gguf.LlamaFileType[name] for name in names if name in gguf.LlamaFileType.__members__)

    def _pack(self, name: str, weight: npt.NDArray[np.float32]) -> Packed:
        kind = fitting(weights_of(self.quantization, LAYERS).kind_of(name), weight.shape[1])
        return quantize(weight, kind), kind


def measurable() -> list[Measurable]:
    """All files; first those of the default model, beginning with the one that users download."""
    real = ["Q4_1", *(kind for kind in (*PURE, *FLOATS, *MIXED) if kind != "Q4_1" and kind not in SUPER_BLOCKS)]
    return [Measurable(kind, DEFAULT.name) for kind in real] + [
        Measurable(kind, family, width) for family, width in FAMILIES for kind in (*PURE, *FLOATS, *MIXED)
    ]
