"""Rotary positions: how far each pair of a head's features is turned, and the nodes that turn it.

The scalings are those of their papers and of the models' makers: positions divided by a factor (linear), by a factor
for each pair (llama3, which the file tells as a tensor), and YaRN (Peng et al., 2023), which leaves pairs alone that
turn often within the length that the model was trained on.
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
"""The tensor with a divisor for the frequency of each pair."""

SCALINGS = ("none", "linear", "llama3", "yarn")

_KNOWN_VALUES = {
    "alpha": 1.0,
    "attn_factor": 1.0,
    "yarn_attn_factor": 1.0,
    "yarn_ext_factor": 1.0,
    "yarn_beta_fast": 32.0,
    "yarn_beta_slow": 1.0,
    "yarn_log_multiplier": 0.0,
}
"""Settings of scalings, and the value that they have here."""

Floats64 = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Rotary:
    frequencies: npt.NDArray[np.float32]
    """Radians that a pair turns for each position; the first features of a head, in two halves, are these pairs."""
    magnitude: float = 1.0
    """What cosines and sines are multiplied by."""

    @property
    def size(self) -> int:
        """Features of a head that are turned: the first ones."""
        return 2 * len(self.frequencies)

    def turns(self, positions: ov.Node) -> tuple[ov.Node, ov.Node]:
        """Cosines and sines `[batch, 1, tokens, size]` of positions `[batch, tokens]`."""
        places = ops.unsqueeze(ops.convert(positions, np.float32), np.int64(-1))
        angles = ops.multiply(places, ops.constant(self.frequencies.reshape(1, 1, -1)))
        both = ops.concat([angles, angles], axis=-1)
        return self._scaled(ops.cos(both)), self._scaled(ops.sin(both))

    def _scaled(self, values: ov.Node) -> ov.Node:
        if self.magnitude != 1:
            values = ops.multiply(values, np.float32(self.magnitude))
        return ops.unsqueeze(values, np.int64(1))

    def turn(self, x: ov.Node, cos: ov.Node, sin: ov.Node, head_size: int) -> ov.Node:
        """Turn the pairs of `x` `[batch, heads, tokens, head_size]`."""
        if self.size == head_size:
            return self._turned(x, cos, sin)
        sizes = np.array([self.size, head_size - self.size])
        turned, rest = ops.variadic_split(x, np.int64(-1), sizes).outputs()
        return ops.concat([self._turned(turned, cos, sin), rest], axis=-1)

    def _turned(self, x: ov.Node, cos: ov.Node, sin: ov.Node) -> ov.Node:
        half = len(self.frequencies)
        first, second = (_slice(x, 0, half), _slice(x, half, 2 * half))
        swapped = ops.concat([ops.multiply(second, np.float32(-1)), first], axis=-1)
        return ops.add(ops.multiply(x, cos), ops.multiply(swapped, sin))


def _slice(x: ov.Node, start: int, end: int) -> ov.Node:
    return ops.slice(x, np.array([start]), np.array([end]), np.array([1]), np.array([3]))


def unsupported_rotary(head: GgufHead, architecture: str) -> str | None:
    scaling = head.text(f"{architecture}.rope.scaling.type")
    if scaling not in (None, *SCALINGS):
        return f"its rotary positions are scaled by '{scaling}', and only {', '.join(SCALINGS[1:])} are known"
    for key, value in _KNOWN_VALUES.items():
        if (told := head.real(f"{architecture}.rope.scaling.{key}")) not in (None, value):
            return f"its rotary positions are scaled with a {key} of {told:g}, and only {value:g} is known"
    return None


def read_rotary(head: GgufHead, architecture: str, head_size: int, factors: npt.NDArray[np.float32] | None) -> Rotary:
    """`factors` are those of the tensor FACTORS, if the file has it. Raises ModelError for what cannot be."""
    rope = f"{architecture}.rope"
    size = head.number(f"{rope}.dimension_count") or head_size
    if size % 2 or not 0 < size <= head_size:
        raise ModelError(f"its positions turn {size} of the {head_size} features of a head")
    base = real_size(head, f"{rope}.freq_base", 10_000.0)
    if base <= 1:
        raise ModelError(f"its {rope}.freq_base is {base:g}, so no pair would turn slower than the first")
    frequencies = base ** (-np.arange(0, size, 2, dtype=np.float64) / size)
    if factors is not None:
        if factors.shape != frequencies.shape or not (factors > 0).all():
            raise ModelError(f"its tensor '{FACTORS}' is no {len(frequencies)} positive factors")
        frequencies = frequencies / factors
    scaling = head.text(f"{rope}.scaling.type")
    factor = real_size(head, f"{rope}.scaling.factor", real_size(head, f"{rope}.scale_linear", 1.0))
    if scaling in (None, "linear"):  # llama.cpp, too, takes a factor without a rule for that of a linear one
        return Rotary((frequencies / factor).astype(np.float32))
    if scaling == "yarn":
        return _yarn(frequencies, factor, _trained_length(head, architecture), base)
    return Rotary(frequencies.astype(np.float32))


def _trained_length(head: GgufHead, architecture: str) -> float:
    told = real_size(head, f"{architecture}.context_length", 1)
    return real_size(head, f"{architecture}.rope.scaling.original_context_length", told)


def _yarn(frequencies: Floats64, factor: float, trained: float, base: float) -> Rotary:
    """Pairs that turn 32 times and more within the trained length keep their speed, those below one turn lose it."""
    size = 2 * len(frequencies)

    def pair(turns: int) -> float:
        return size * math.log(trained / (turns * 2 * math.pi)) / (2 * math.log(base))

    low, high = max(0, math.floor(pair(32))), min(size - 1, math.ceil(pair(1)))
    slowed = np.clip((np.arange(size // 2) - low) / max(0.001, high - low), 0, 1)
    mixed = frequencies / factor * slowed + frequencies * (1 - slowed)
    return Rotary(mixed.astype(np.float32), 1.0 + 0.1 * math.log(factor))
