"""Rotary positions for the reference implementation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from crossette.engines.openvino.gguf.head import GgufHead
from crossette.engines.openvino.gguf.reference_shape import Shape, required
from crossette.engines.openvino.gguf.reference_tensors import Floats, Tensors
from crossette.errors import ModelError

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Angles:
    """Cosine and sine of each position and pair of features, `[tokens, 1, pairs]`."""

    cos: Floats
    sin: Floats


def angles(
    path: Path, head: GgufHead, tensors: Tensors, shape: Shape, num_tokens: int, *, in_windows: bool, window: int
) -> Angles:
    """The rotation of `num_tokens` positions, of layers with a sliding window or of the others.

    `window` is the most tokens of a sequence: longrope's choice between its two sets of factors.
    """
    name = head.text("general.architecture")
    traits = shape.traits
    base = head.real(f"{name}.rope.freq_base") or 10_000.0
    if in_windows:
        base = head.real(f"{name}.rope.freq_base_swa") or traits.base_in_windows or base
    frequencies = base ** (-np.arange(0, shape.rotated, 2, dtype=np.float64) / shape.rotated)
    magnitude = 1.0
    if not (in_windows and traits.plain_in_windows):
        frequencies, magnitude = _scaled(path, head, tensors, shape, frequencies, base, window)
    turns = np.arange(num_tokens)[:, None, None] * frequencies
    return Angles((np.cos(turns) * magnitude).astype(np.float32), (np.sin(turns) * magnitude).astype(np.float32))


def _scaled(
    path: Path, head: GgufHead, tensors: Tensors, shape: Shape, frequencies: Doubles, base: float, window: int
) -> tuple[Doubles, float]:
    """Frequencies after rope scaling, and the magnitude of rotated features."""
    name = head.text("general.architecture")
    rope = f"{name}.rope"
    trained = head.number(f"{rope}.scaling.original_context_length")
    trained = trained or required(path, head, f"{name}.context_length")
    if "rope_factors_long.weight" in tensors:
        short, long = (tensors.vector(f"rope_factors_{kind}.weight") for kind in ("short", "long"))
        factors = long if window > trained else short
        return frequencies / factors, head.real(f"{rope}.scaling.attn_factor") or 1.0
    if "rope_freqs.weight" in tensors:
        frequencies = frequencies / tensors.vector("rope_freqs.weight")
    factor = head.real(f"{rope}.scaling.factor") or head.real(f"{rope}.scale_linear") or 1.0
    match scaling := head.text(f"{rope}.scaling.type"):
        case "none" | "llama3":  # its factors are a tensor
            return frequencies, 1.0
        case None | "linear":
            return frequencies / factor, 1.0
        case "yarn":
            multiplier = head.real(f"{rope}.scaling.yarn_log_multiplier") or 0.0
            magnitude = (1 + 0.1 * math.log(factor)) / (1 + 0.1 * multiplier * math.log(factor))
            return _yarn(frequencies, factor, trained, base, exact=shape.traits.oai), magnitude
    raise ModelError(f"Can't compute {path}: its rope scaling '{scaling}' is not supported.")


def _yarn(frequencies: Doubles, factor: float, trained: int, base: float, *, exact: bool) -> Doubles:
    """YaRN: pairs with 32 or more rotations in the trained length keep their frequency; at one or fewer it is scaled.

    Between these two pairs, rounded outwards to integers unless `exact`, the scaled share grows linearly.
    """
    num_pairs = len(frequencies)

    def pair_with(rotations: float) -> float:
        return num_pairs * math.log(trained / (rotations * 2 * math.pi)) / math.log(base)

    first, last = pair_with(32), pair_with(1)
    if not exact:
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, 2 * num_pairs - 1)
    scaled = np.clip((np.arange(num_pairs) - first) / max(last - first, 0.001), 0, 1)
    mixed: Doubles = frequencies * (1 - scaled + scaled / factor)
    return mixed
