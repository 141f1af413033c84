"""Rotary position embeddings: the frequency of each pair of features, and the nodes that rotate them.

Supported scalings: positions divided by a factor (linear), by a factor per pair (llama3, a tensor in the file), and
YaRN (Peng et al., 2023), which does not scale pairs that rotate often within the length that the model was trained on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import openvino as ov
from openvino import opset13 as ops

from crossette.engines.openvino.gguf.head import GgufHead
from crossette.engines.openvino.gguf.shape import real_size
from crossette.errors import ModelError

FACTORS = "rope_freqs.weight"
"""The tensor of divisors for the frequency of each pair."""

SCALINGS = ("none", "linear", "llama3", "yarn")

_SUPPORTED_VALUES = {
    "alpha": 1.0,
    "attn_factor": 1.0,
    "yarn_attn_factor": 1.0,
    "yarn_ext_factor": 1.0,
    "yarn_beta_fast": 32.0,
    "yarn_beta_slow": 1.0,
    "yarn_log_multiplier": 0.0,
}
"""Scaling parameters of which only this value is supported."""

Floats64 = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Rotary:
    frequencies: npt.NDArray[np.float32]
    """Radians per position of each pair; the pairs are corresponding features of two halves, at the start of a head."""
    magnitude: float = 1.0
    """A factor of cosines and sines."""

    @property
    def size(self) -> int:
        """Number of rotated features of a head: the first ones."""
        return 2 * len(self.frequencies)

    def cos_sin(self, positions: ov.Node) -> tuple[ov.Node, ov.Node]:
        """Cosines and sines `[batch, 1, tokens, size]` of positions `[batch, tokens]`."""
        columns = ops.unsqueeze(ops.convert(positions, np.float32), np.int64(-1))
        angles = ops.multiply(columns, ops.constant(self.frequencies.reshape(1, 1, -1)))
        both = ops.concat([angles, angles], axis=-1)
        return self._scaled(ops.cos(both)), self._scaled(ops.sin(both))

    def _scaled(self, values: ov.Node) -> ov.Node:
        if self.magnitude != 1:
            values = ops.multiply(values, np.float32(self.magnitude))
        return ops.unsqueeze(values, np.int64(1))

    def rotate(self, x: ov.Node, cos: ov.Node, sin: ov.Node, head_size: int) -> ov.Node:
        """Rotate the pairs of `x` `[batch, heads, tokens, head_size]`."""
        if self.size == head_size:
            return self._rotated(x, cos, sin)
        sizes = np.array([self.size, head_size - self.size])
        rotary, rest = ops.variadic_split(x, np.int64(-1), sizes).outputs()
        return ops.concat([self._rotated(rotary, cos, sin), rest], axis=-1)

    def _rotated(self, x: ov.Node, cos: ov.Node, sin: ov.Node) -> ov.Node:
        half = len(self.frequencies)
        first, second = (_slice(x, 0, half), _slice(x, half, 2 * half))
        swapped = ops.concat([ops.multiply(second, np.float32(-1)), first], axis=-1)
        return ops.add(ops.multiply(x, cos), ops.multiply(swapped, sin))


def _slice(x: ov.Node, start: int, end: int) -> ov.Node:
    return ops.slice(x, np.array([start]), np.array([end]), np.array([1]), np.array([3]))


def unsupported_rotary(head: GgufHead, architecture: str) -> str | None:
    scaling = head.text(f"{architecture}.rope.scaling.type")
    if scaling not in (None, *SCALINGS):
        return f"its rope scaling is '{scaling}', and only {', '.join(SCALINGS[1:])} are supported"
    for key, value in _SUPPORTED_VALUES.items():
        if (declared := head.real(f"{architecture}.rope.scaling.{key}")) not in (None, value):
            return f"its rope scaling has a {key} of {declared:g}, and only {value:g} is supported"
    return None


def read_rotary(head: GgufHead, architecture: str, head_size: int, factors: npt.NDArray[np.float32] | None) -> Rotary:
    """Read the rotary parameters. `factors` is the tensor FACTORS, if the file has it. Raises ModelError if invalid."""
    rope = f"{architecture}.rope"
    size = head.number(f"{rope}.dimension_count") or head_size
    if size % 2 or not 0 < size <= head_size:
        raise ModelError(f"its rotary dimension is {size}, and a head has {head_size} features")
    base = real_size(head, f"{rope}.freq_base", 10_000.0)
    if base <= 1:
        raise ModelError(f"its {rope}.freq_base is {base:g}, so its rotary frequencies would not decrease")
    frequencies = base ** (-np.arange(0, size, 2, dtype=np.float64) / size)
    if factors is not None:
        if factors.shape != frequencies.shape or not (factors > 0).all():
            raise ModelError(f"its tensor '{FACTORS}' must have {len(frequencies)} positive factors")
        frequencies = frequencies / factors
    scaling = head.text(f"{rope}.scaling.type")
    factor = real_size(head, f"{rope}.scaling.factor", real_size(head, f"{rope}.scale_linear", 1.0))
    if scaling in (None, "linear"):  # llama.cpp, too, treats a factor without a scaling type as linear
        return Rotary((frequencies / factor).astype(np.float32))
    if scaling == "yarn":
        return _yarn(frequencies, factor, _trained_length(head, architecture), base)
    return Rotary(frequencies.astype(np.float32))


def _trained_length(head: GgufHead, architecture: str) -> float:
    context_length = real_size(head, f"{architecture}.context_length", 1)
    return real_size(head, f"{architecture}.rope.scaling.original_context_length", context_length)


def _yarn(frequencies: Floats64, factor: float, trained: float, base: float) -> Rotary:
    """YaRN: pairs with 32 or more rotations in the trained length keep their frequency, below one they are scaled."""
    size = 2 * len(frequencies)

    def pair(rotations: int) -> float:
        return size * math.log(trained / (rotations * 2 * math.pi)) / (2 * math.log(base))

    low, high = max(0, math.floor(pair(32))), min(size - 1, math.ceil(pair(1)))
    scaled = np.clip((np.arange(size // 2) - low) / max(0.001, high - low), 0, 1)
    mixed = frequencies / factor * scaled + frequencies * (1 - scaled)
    return Rotary(mixed.astype(np.float32), 1.0 + 0.1 * math.log(factor))
