"""The bytes of a quantised tensor as the numbers that they stand for.

A weight is `scale * integer + minimum`, with a scale and a minimum for each group of neighbours in a row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

GROUP = 32

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Groups:
    """A matrix in groups: `integers` `[rows, columns]`, `scales` and `minima` `[rows, groups]`."""

    integers: Bytes
    scales: Floats
    minima: Floats


@dataclass(frozen=True, slots=True)
class ZeroPoints:
    """A matrix in groups, as 16-bit numbers can tell it: `(integers - zero_points) * scales`."""

    integers: Bytes
    scales: npt.NDArray[np.float16]
    zero_points: npt.NDArray[np.float16]


def with_zero_points(groups: Groups) -> ZeroPoints:
    """The same weights, but for the rounding of scales and zero points to 11 bits.

    Where the minimum is so many scales that no 16-bit number says how many, the group's weights are all the same to
    those 11 bits: the minimum itself.
    """
    scales = groups.scales.astype(np.float16)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        zero_points = (-groups.minima / scales).astype(np.float16)
    flat = ~np.isfinite(zero_points)
    if not flat.any():
        return ZeroPoints(groups.integers, scales, zero_points)
    scales[flat] = np.abs(groups.minima[flat])
    zero_points[flat] = -np.sign(groups.minima[flat])
    size = groups.integers.shape[1] // flat.shape[1]
    return ZeroPoints(np.where(np.repeat(flat, size, axis=1), np.uint8(0), groups.integers), scales, zero_points)


def read_groups(data: Bytes, kind: GGMLQuantizationType, rows: int) -> Groups:
    """The groups of a Q4_1 or Q4_K matrix; `data` are its bytes."""
    block_bytes = GGML_QUANT_SIZES[kind][1]
    return READERS[kind](data.reshape(rows, -1, block_bytes))


def pack(integers: Bytes) -> Bytes:
    """Two 4-bit integers to a byte, the first one in the low half."""
    pairs = integers.reshape(-1, 2)
    packed: Bytes = np.bitwise_or(pairs[:, 0], pairs[:, 1] << 4)
    return packed


def _read_q4_1(blocks: Bytes) -> Groups:
    """Scale, minimum, 16 bytes: the low halves are the first 16 weights, the high halves the others."""
    return Groups(_halves(blocks[..., 4:]), _f16(blocks, 0), _f16(blocks, 2))


def _read_q4_k(blocks: Bytes) -> Groups:
    """Eight groups of 32, whose scales and minima are 6-bit multiples of the two of the super-block."""
    rows = len(blocks)
    scales, minima = _six_bits(blocks[..., 4:16])
    pairs = blocks[..., 16:].reshape(rows, -1, 4, GROUP)
    return Groups(
        _halves(pairs),
        (_f16(blocks, 0)[..., None] * scales).reshape(rows, -1),
        (-_f16(blocks, 2)[..., None] * minima).reshape(rows, -1),
    )


READERS: dict[GGMLQuantizationType, Callable[[Bytes], Groups]] = {
    GGMLQuantizationType.Q4_1: _read_q4_1,
    GGMLQuantizationType.Q4_K: _read_q4_k,
}


def _f16(blocks: Bytes, offset: int) -> Floats:
    """The 16-bit number at an offset of each block."""
    pair = np.ascontiguousarray(blocks[..., offset : offset + 2])
    return pair.view(np.float16)[..., 0].astype(np.float32)


def _halves(data: Bytes) -> Bytes:
    """The 4-bit integers of rows of bytes: of each run along the last axis the low halves, then the high ones."""
    return np.stack([data & 15, data >> 4], axis=-2).reshape(len(data), -1)


def _six_bits(packed: Bytes) -> tuple[Bytes, Bytes]:
    """Eight scales and eight minima of 6 bits each, out of 12 bytes: the last four of both are in two pieces."""
    first, second, third = packed[..., 0:4], packed[..., 4:8], packed[..., 8:12]
    scales = np.concatenate([first & 63, (third & 15) | (first >> 6 << 4)], axis=-1)
    minima = np.concatenate([second & 63, (third >> 4) | (second >> 6 << 4)], axis=-1)
    return scales, minima
