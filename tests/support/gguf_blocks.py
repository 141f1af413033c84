"""Quantise weights to the blocks of a GGUF file, in every supported type.

The gguf package reads all types and writes some; the others are written here, each group scaled by its range. That is
less precise than llama.cpp's search, which is fine: tests compare with the weights in the file.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import IQ4_NL
from gguf.quants import quantize as quantize_by_gguf

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]

_LEVELS = np.array(IQ4_NL.kvalues, np.float32)
_TINY = np.float32(1e-12)
"""Replaces a scale of 0."""


T = GGMLQuantizationType

_NARROW = {T.Q4_K: T.Q5_0, T.Q5_K: T.Q5_1, T.Q6_K: T.Q8_0, T.Q2_K: T.IQ4_NL, T.Q3_K: T.IQ4_NL, T.IQ4_XS: T.IQ4_NL}


def fitting(kind: T, columns: int) -> T:
    """The type itself, or its fallback if the columns are not a multiple of its super-block."""
    return kind if columns % GGML_QUANT_SIZES[kind][0] == 0 else _NARROW[kind]


def quantize(weight: Floats, kind: T) -> Bytes | Floats:
    """Quantise the rows of a matrix: `[rows, bytes]`, or numpy arrays for f32 and f16."""
    write = _WRITERS.get(kind)
    if write is None:
        return quantize_by_gguf(weight, kind)
    block, block_bytes = GGML_QUANT_SIZES[kind]
    packed = write(weight.reshape(-1, block))
    assert packed.shape[1] == block_bytes
    return packed.reshape(len(weight), -1)


def _q2_k(weight: Floats) -> Bytes:
    scale, minimum, d, dmin = _ranges(weight.reshape(-1, 16, 16), 3, 15)
    q = _steps(weight.reshape(-1, 16, 16) + _wide(dmin * minimum), _wide(d * scale), 0, 3)
    return _joined(scale | minimum << 4, _quarters(q), d, dmin)


def _q3_k(weight: Floats) -> Bytes:
    groups = weight.reshape(-1, 16, 16)
    scale, d = _sizes(groups, 4, 31)
    q = _steps(groups, _wide(d * scale), -4, 3) + 4
    high = _bits(q.reshape(-1, 8, 32) >> 2, 1)
    six = (scale + 32).reshape(-1, 2, 8)
    low_scales = six[:, 0] & 15 | (six[:, 1] & 15) << 4
    return _joined(high, _quarters(q & 3), low_scales, _bits(six.reshape(-1, 4, 4) >> 4, 2), d)


def _q4_k(weight: Floats) -> Bytes:
    scale, minimum, d, dmin = _ranges(weight.reshape(-1, 8, 32), 15, 63)
    q = _steps(weight.reshape(-1, 8, 32) + _wide(dmin * minimum), _wide(d * scale), 0, 15)
    return _joined(d, dmin, _six_bits(scale, minimum), _nibbles(q))


def _q5_k(weight: Floats) -> Bytes:
    scale, minimum, d, dmin = _ranges(weight.reshape(-1, 8, 32), 31, 63)
    q = _steps(weight.reshape(-1, 8, 32) + _wide(dmin * minimum), _wide(d * scale), 0, 31)
    return _joined(d, dmin, _six_bits(scale, minimum), _bits(q >> 4, 1), _nibbles(q & 15))


def _q6_k(weight: Floats) -> Bytes:
    groups = weight.reshape(-1, 16, 16)
    scale, d = _sizes(groups, 31, 127)
    q = (_steps(groups, _wide(d * scale), -32, 31) + 32).reshape(-1, 2, 128)
    low = q[..., :64] & 15 | (q[..., 64:] & 15) << 4
    return _joined(low, _quarters(q >> 4), scale & 255, d)


def _iq4_nl(weight: Floats) -> Bytes:
    d = _half(np.abs(weight).max(-1, keepdims=True) / 127)
    q = _nearest_levels(weight / np.maximum(d, _TINY))
    return _joined(d, q[:, :16] | q[:, 16:] << 4)


def _iq4_xs(weight: Floats) -> Bytes:
    groups = weight.reshape(-1, 8, 32)
    scale, d = _sizes(groups, 127, 31)
    q = _nearest_levels(groups / np.maximum(_wide(d * scale), _TINY))
    low = (scale & 15).reshape(-1, 4, 2)
    high = _bits(((scale + 32) >> 4)[..., None], 2).astype("<u2").view(np.uint8)
    return _joined(d, high, low[..., 0] | low[..., 1] << 4, q[..., :16] | q[..., 16:] << 4)


_WRITERS: dict[T, Callable[[Floats], Bytes]] = {
    T.Q2_K: _q2_k,
    T.Q3_K: _q3_k,
    T.Q4_K: _q4_k,
    T.Q5_K: _q5_k,
    T.Q6_K: _q6_k,
    T.IQ4_NL: _iq4_nl,
    T.IQ4_XS: _iq4_xs,
}

Integers = npt.NDArray[np.int64]


def _ranges(groups: Floats, steps: int, most: int) -> tuple[Integers, Integers, Floats, Floats]:
    """Scale and minimum of each group `[blocks, groups]`, as integers up to `most`, and the block's unit of each."""
    low = np.minimum(groups.min(-1), 0)
    scale = (groups.max(-1) - low) / steps
    d, dmin = (_half(size.max(-1, keepdims=True) / most) for size in (scale, -low))
    return _steps(scale, d, 0, most), _steps(-low, dmin, 0, most), d, dmin


def _sizes(groups: Floats, steps: int, most: int) -> tuple[Integers, Floats]:
    """Scale of each group, symmetric around 0, and the block's unit of it."""
    scale = np.abs(groups).max(-1) / steps
    d = _half(scale.max(-1, keepdims=True) / most)
    return _steps(scale, d, 0, most), d


def _steps(value: Floats, unit: Floats, low: int, high: int) -> Integers:
    return np.clip(np.round(value / np.maximum(unit, _TINY)), low, high).astype(np.int64)


def _nearest_levels(value: npt.NDArray[np.floating]) -> Integers:
    nearest: Integers = np.abs(value[..., None] - _LEVELS).argmin(-1)
    return nearest


def _half(value: Floats) -> Floats:
    return value.astype(np.float16).astype(np.float32)


def _wide(value: Floats) -> Floats:
    return value[..., None]


def _six_bits(scale: Integers, minimum: Integers) -> Integers:
    """Eight scales and eight minima of six bits in twelve bytes."""
    first = scale[:, :4] | scale[:, 4:] >> 4 << 6
    second = minimum[:, :4] | minimum[:, 4:] >> 4 << 6
    return np.concatenate((first, second, scale[:, 4:] & 15 | (minimum[:, 4:] & 15) << 4), -1)


def _nibbles(q: Integers) -> Integers:
    """Eight groups of 32: two share their bytes."""
    pairs = q.reshape(-1, 4, 2, 32)
    return pairs[:, :, 0] | pairs[:, :, 1] << 4


def _quarters(q: Integers) -> Integers:
    """Two bits of each of 256: four runs of 32 share their bytes."""
    return np.concatenate([_bits(half, 2) for half in np.split(q.reshape(-1, 8, 32), 2, 1)], -1)


def _bits(runs: Integers, width: int) -> Integers:
    """`[blocks, runs, n]` of `width` bits, the first run lowest."""
    packed: Integers = np.bitwise_or.reduce(runs << (width * np.arange(runs.shape[1]))[:, None], 1)
    return packed


def _joined(*parts: Floats | Integers | Bytes) -> Bytes:
    """Concatenate the fields of each block: floats as f16, integers as bytes."""
    fields = [part.astype("<f2").view(np.uint8) if part.dtype.kind == "f" else part.astype(np.uint8) for part in parts]
    return np.concatenate([field.reshape(len(parts[0]), -1) for field in fields], -1)
