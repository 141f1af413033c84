"""Rotary position embeddings: the frequency of each pair of features, and the nodes that rotate them.

Supported scalings: positions divided by a factor (linear), by a factor per pair (llama3, a tensor in the file), by one
of two sets of factors per pair (longrope, two tensors), and YaRN (Peng et al., 2023), which does not scale pairs that
rotate often within the length that the model was trained on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import openvino as ov
from openvino import opset13 as ops

from crossette.engines.openvino.gguf.blocks import Floats
from crossette.engines.openvino.gguf.families import Family
from crossette.engines.openvino.gguf.head import GgufHead
from crossette.engines.openvino.gguf.shape import Shape, real_size, trained_length
from crossette.engines.openvino.gguf.weights import Weights
from crossette.errors import ModelError

FACTORS = "rope_freqs.weight"
"""The tensor of divisors for the frequency of each pair."""
SHORT_FACTORS, LONG_FACTORS = "rope_factors_short.weight", "rope_factors_long.weight"
"""The same of longrope: for windows up to the length that the model was trained on, and for longer ones."""

SCALINGS = ("none", "linear", "llama3", "yarn", "longrope")

_SUPPORTED_VALUES = {
    "alpha": 1.0,
    "yarn_attn_factor": 1.0,
    "yarn_ext_factor": 1.0,
    "yarn_beta_fast": 32.0,
    "yarn_beta_slow": 1.0,
}
"""Scaling parameters of which only this value is supported."""

Floats64 = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Rotary:
    frequencies: Floats
    """Radians per position of each pair; the pairs are corresponding features of two halves, at the start of a head."""
    magnitude: float = 1.0
    """A factor of cosines and sines."""
    long: Floats | None = None
    """The frequencies for windows of more than `trained` tokens, if they are others."""
    trained: int = 0

    @property
    def size(self) -> int:
        """Number of rotated features of a head: the first ones."""
        return 2 * len(self.frequencies)

    def cos_sin(self, positions: ov.Node) -> tuple[ov.Node, ov.Node]:
        """Cosines and sines `[batch, 1, tokens, size]` of positions `[batch, tokens]`."""
        columns = ops.unsqueeze(ops.convert(positions, np.float32), np.int64(-1))
        angles = ops.multiply(columns, self._chosen(positions))
        both = ops.concat([angles, angles], axis=-1)
        return self._scaled(ops.cos(both)), self._scaled(ops.sin(both))

    def _chosen(self, positions: ov.Node) -> ov.Node:
        """The frequencies. Long or short ones are chosen by the longest sequence, as in graphs of other exporters.

        That suits one sequence only; where several are computed together, the choice is made when a model is loaded.
        """
        short = ops.constant(self.frequencies.reshape(1, 1, -1))
        if self.long is None:
            return short
        longest = ops.add(ops.reduce_max(positions, np.array([0, 1]), keep_dims=False), np.int64(1))
        return ops.select(
            ops.greater(longest, np.int64(self.trained)), ops.constant(self.long.reshape(1, 1, -1)), short
        )

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


@dataclass(frozen=True, slots=True)
class Factors:
    """The tensors of divisors that a file has."""

    all: Floats | None = None
    short: Floats | None = None
    long: Floats | None = None


def read_factors(weights: Weights) -> Factors:
    names = (FACTORS, SHORT_FACTORS, LONG_FACTORS)
    return Factors(*(weights.vector(name) if name in weights else None for name in names))


def unsupported_rotary(head: GgufHead, architecture: str) -> str | None:
    scaling = head.text(f"{architecture}.rope.scaling.type")
    if scaling not in (None, *SCALINGS):
        return f"its rope scaling is '{scaling}', and only {', '.join(SCALINGS[1:])} are supported"
    supported = dict(_SUPPORTED_VALUES)
    if SHORT_FACTORS not in {tensor.name for tensor in head.tensors}:
        supported["attn_factor"] = 1.0
    if head.real(f"{architecture}.rope.scaling.yarn_log_multiplier") not in (None, 0.0, 1.0):
        supported["yarn_log_multiplier"] = 1.0
    for key, value in supported.items():
        if (declared := head.real(f"{architecture}.rope.scaling.{key}")) not in (None, value):
            return f"its rope scaling has a {key} of {declared:g}, and only {value:g} is supported"
    return None


def read_rotary(head: GgufHead, family: Family, shape: Shape, factors: Factors) -> Rotary:
    """Read the rotary parameters of layers without a window. Raises ModelError if they are invalid."""
    architecture = shape.architecture
    base = real_size(head, f"{architecture}.rope.freq_base", 10_000.0)
    frequencies = _frequencies(head, shape, base)
    if factors.short is not None and factors.long is not None:
        return _longrope(head, architecture, frequencies, factors.short, factors.long)
    if factors.all is not None:
        frequencies = _divided(frequencies, factors.all, FACTORS)
    scaling = head.text(f"{architecture}.rope.scaling.type")
    if scaling == "longrope":
        raise ModelError(f"it has no tensors '{SHORT_FACTORS}' and '{LONG_FACTORS}'")
    factor = _factor(head, architecture)
    if scaling in (None, "linear"):  # llama.cpp, too, treats a factor without a scaling type as linear
        return Rotary((frequencies / factor).astype(np.float32))
    if scaling == "yarn":
        mixed = _yarn(frequencies, factor, trained_length(head, architecture), base, whole=family.whole_yarn_pairs)
        # With a multiplier of 1 the magnitude is divided by itself (transformers' mscale and mscale_all_dim).
        plain = head.real(f"{architecture}.rope.scaling.yarn_log_multiplier") == 1
        return Rotary(mixed.astype(np.float32), 1.0 if plain else 1.0 + 0.1 * math.log(factor))
    return Rotary(frequencies.astype(np.float32))


def read_sliding_rotary(head: GgufHead, family: Family, shape: Shape, full: Rotary) -> Rotary:
    """Read the rotary parameters of layers with a window; `full` are those of the others."""
    key = f"{shape.architecture}.rope.freq_base_swa"
    base = real_size(
        head, key, family.sliding_base or real_size(head, f"{shape.architecture}.rope.freq_base", 10_000.0)
    )
    if family.sliding_unscaled:
        return Rotary(_frequencies(head, shape, base).astype(np.float32))
    if head.real(key):
        raise ModelError(f"its layers with a window have another rotary base ({key})")
    return full


def _frequencies(head: GgufHead, shape: Shape, base: float) -> Floats64:
    size = head.number(f"{shape.architecture}.rope.dimension_count") or shape.head_size
    if size % 2 or not 0 < size <= shape.head_size:
        raise ModelError(f"its rotary dimension is {size}, and a head has {shape.head_size} features")
    if base <= 1:
        raise ModelError(
            f"its {shape.architecture}.rope.freq_base is {base:g}, so its rotary frequencies would not decrease"
        )
    return np.asarray(base ** (-np.arange(0, size, 2, dtype=np.float64) / size))


def _divided(frequencies: Floats64, factors: Floats, name: str) -> Floats64:
    if factors.shape != frequencies.shape or not (factors > 0).all():
        raise ModelError(f"its tensor '{name}' must have {len(frequencies)} positive factors")
    return np.asarray(frequencies / factors)


def _factor(head: GgufHead, architecture: str) -> float:
    rope = f"{architecture}.rope"
    return real_size(head, f"{rope}.scaling.factor", real_size(head, f"{rope}.scale_linear", 1.0))


def _longrope(head: GgufHead, architecture: str, frequencies: Floats64, short: Floats, long: Floats) -> Rotary:
    return Rotary(
        _divided(frequencies, short, SHORT_FACTORS).astype(np.float32),
        real_size(head, f"{architecture}.rope.scaling.attn_factor", 1.0),
        _divided(frequencies, long, LONG_FACTORS).astype(np.float32),
        int(trained_length(head, architecture)),
    )


def _yarn(frequencies: Floats64, factor: float, trained: float, base: float, *, whole: bool) -> Floats64:
    """YaRN: pairs with 32 or more rotations in the trained length keep their frequency, below one they are scaled."""
    size = 2 * len(frequencies)

    def pair(rotations: int) -> float:
        return size * math.log(trained / (rotations * 2 * math.pi)) / (2 * math.log(base))

    low, high = pair(32), pair(1)
    if whole:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(0, low), min(size - 1, high)
    scaled = np.clip((np.arange(size // 2) - low) / max(0.001, high - low), 0, 1)
    return np.asarray(frequencies / factor * scaled + frequencies * (1 - scaled))
