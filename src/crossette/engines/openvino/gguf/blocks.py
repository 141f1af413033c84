"""The quantised formats of GGUF files: the layout of integers, scales and minima in the bytes of a block.

A weight is `(integer - zero) * scale`, or `integer * scale + minimum` where the format has minima. Scales and minima
belong to a group: 16 or 32 adjacent weights of a row. Every supported format has this form exactly, so a graph can
represent it without loss (weights.py). All functions take the blocks of rows as `[rows, blocks, bytes]`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import IQ4_NL, MXFP4

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.uint8] | npt.NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class Format:
    """How to unpack the blocks of one type."""

    bits: int
    """Bits of an integer in the graph: 2, 4 or 8."""
    group: int
    """Number of weights with the same scale."""
    integers: Callable[[Bytes], Integers]
    """`[rows, blocks, weights of a block]`; signed where `zero` is 0 and there are no minima."""
    scales: Callable[[Bytes], Floats]
    """`[rows, blocks, groups of a block]`."""
    minima: Callable[[Bytes], Floats] | None = None
    """`[rows, blocks, groups of a block]`."""
    zero: int = 0


def _f16(blocks: Bytes, offset: int) -> Floats:
    """The 16-bit float at an offset of each block, `[rows, blocks, 1]`."""
    pair = np.ascontiguousarray(blocks[..., offset : offset + 2])
    return pair.view(np.float16).astype(np.float32)


def _d(blocks: Bytes) -> Floats:
    return _f16(blocks, 0)


def _m(blocks: Bytes) -> Floats:
    return _f16(blocks, 2)


def _fields(data: Bytes, bits: int) -> Bytes:
    """The bit fields of runs of bytes: for each run the lowest fields of all bytes, then the next, and so on."""
    mask = (1 << bits) - 1
    return np.concatenate([data >> shift & mask for shift in range(0, 8, bits)], axis=-1)


def _sequential_fields(data: Bytes, bits: int) -> Bytes:
    """The bit fields of each byte, byte by byte."""
    return _flat(_fields(data[..., None], bits))


def _runs(data: Bytes, length: int) -> Bytes:
    return data.reshape(*data.shape[:-1], -1, length)


def _flat(data: Bytes) -> Bytes:
    """Flatten runs `[rows, blocks, runs, length]` to `[rows, blocks, -1]`."""
    return data.reshape(*data.shape[:2], -1)


def _halves(start: int, run: int) -> Callable[[Bytes], Bytes]:
    """4-bit integers from `start` on: for each run of bytes the low halves, then the high halves."""
    return lambda blocks: _flat(_fields(_runs(blocks[..., start:], run), 4))


# Types of 32 weights a block.


def _q4_0(blocks: Bytes) -> Integers:
    return _halves(2, 16)(blocks).astype(np.int8) - np.int8(8)


def _fifth_bits(blocks: Bytes, start: int) -> Bytes:
    """32 bits in order, each shifted to bit 4."""
    bits = np.unpackbits(blocks[..., start : start + 4], axis=-1, bitorder="little")
    return bits << np.uint8(4)


def _q5_0(blocks: Bytes) -> Integers:
    return (_halves(6, 16)(blocks) | _fifth_bits(blocks, 2)).astype(np.int8) - np.int8(16)


def _q5_1(blocks: Bytes) -> Integers:
    return _halves(8, 16)(blocks) | _fifth_bits(blocks, 4)


def _q8_0(blocks: Bytes) -> Integers:
    return blocks[..., 2:].view(np.int8)


_CODEBOOK = np.array(IQ4_NL.kvalues, np.int8)
"""The sixteen values of the IQ4 types."""


def _iq4_nl(blocks: Bytes) -> Integers:
    return _CODEBOOK[_halves(2, 16)(blocks)]


_FLOATS4 = np.array(MXFP4.kvalues, np.int8)
"""Twice the sixteen values of a 4-bit float."""


def _mxfp4(blocks: Bytes) -> Integers:
    return _FLOATS4[_halves(1, 16)(blocks)]


def _scales_mxfp4(blocks: Bytes) -> Floats:
    """Powers of two, halved because the integers are doubled."""
    return np.ldexp(np.float32(1), blocks[..., :1].astype(np.int32) - 128)


# Types of 256 weights a block: group scales are small multiples of the block scale.


def _six_bits(packed: Bytes) -> tuple[Bytes, Bytes]:
    """Eight scales and eight minima of 6 bits each, from 12 bytes: the last four of both are split in two parts."""
    first, second, third = packed[..., 0:4], packed[..., 4:8], packed[..., 8:12]
    scales = np.concatenate([first & 63, (third & 15) | (first >> 6 << 4)], axis=-1)
    minima = np.concatenate([second & 63, (third >> 4) | (second >> 6 << 4)], axis=-1)
    return scales, minima


def _scales_q45_k(blocks: Bytes) -> Floats:
    return _d(blocks) * _six_bits(blocks[..., 4:16])[0]


def _minima_q45_k(blocks: Bytes) -> Floats:
    return -_m(blocks) * _six_bits(blocks[..., 4:16])[1]


def _q5_k(blocks: Bytes) -> Integers:
    """The high bits are packed as one bit per group in each byte."""
    fifth = _fields(blocks[..., 16:48], 1)
    return _halves(48, 32)(blocks) | fifth << 4


def _pairs_of_bits(blocks: Bytes, start: int, end: int) -> Bytes:
    return _flat(_fields(_runs(blocks[..., start:end], 32), 2))


def _q2_k(blocks: Bytes) -> Integers:
    return _pairs_of_bits(blocks, 16, 80)


def _scales_q2_k(blocks: Bytes) -> Floats:
    return _f16(blocks, 80) * (blocks[..., :16] & 15)


def _minima_q2_k(blocks: Bytes) -> Floats:
    return -_f16(blocks, 82) * (blocks[..., :16] >> 4)


def _q3_k(blocks: Bytes) -> Integers:
    return _pairs_of_bits(blocks, 32, 96) | _fields(blocks[..., :32], 1) << 2


def _scales_q3_k(blocks: Bytes) -> Floats:
    low = _fields(blocks[..., 96:104], 4)
    high = _fields(blocks[..., 104:108], 2)
    return _f16(blocks, 108) * ((low | high << 4).astype(np.float32) - 32)


def _q6_k(blocks: Bytes) -> Integers:
    high = _pairs_of_bits(blocks, 128, 192)
    low = _flat(_fields(_runs(blocks[..., :128], 64), 4))
    return (low | high << 4).astype(np.int8) - np.int8(32)


def _scales_q6_k(blocks: Bytes) -> Floats:
    return _f16(blocks, 208) * blocks[..., 192:208].view(np.int8)


def _iq4_xs(blocks: Bytes) -> Integers:
    return _CODEBOOK[_halves(8, 16)(blocks)]


def _scales_iq4_xs(blocks: Bytes) -> Floats:
    low = _sequential_fields(blocks[..., 4:8], 4)
    high = _sequential_fields(blocks[..., 2:4], 2)
    return _d(blocks) * ((low | high << 4).astype(np.float32) - 32)


_T = GGMLQuantizationType

FORMATS: dict[GGMLQuantizationType, Format] = {
    _T.Q4_0: Format(4, 32, _q4_0, _d),
    _T.Q4_1: Format(4, 32, _halves(4, 16), _d, _m),
    _T.Q5_0: Format(8, 32, _q5_0, _d),
    _T.Q5_1: Format(8, 32, _q5_1, _d, _m),
    _T.Q8_0: Format(8, 32, _q8_0, _d),
    _T.Q2_K: Format(2, 16, _q2_k, _scales_q2_k, _minima_q2_k),
    _T.Q3_K: Format(4, 16, _q3_k, _scales_q3_k, zero=4),
    _T.Q4_K: Format(4, 32, _halves(16, 32), _scales_q45_k, _minima_q45_k),
    _T.Q5_K: Format(8, 32, _q5_k, _scales_q45_k, _minima_q45_k),
    _T.Q6_K: Format(8, 16, _q6_k, _scales_q6_k),
    _T.IQ4_NL: Format(8, 32, _iq4_nl, _d),
    _T.IQ4_XS: Format(8, 32, _iq4_xs, _scales_iq4_xs),
    _T.MXFP4: Format(8, 32, _mxfp4, _scales_mxfp4),
}


def as_blocks(data: Bytes, kind: GGMLQuantizationType, rows: int) -> Bytes:
    """The bytes of a matrix as `[rows, blocks, bytes]`."""
    return data.reshape(rows, -1, GGML_QUANT_SIZES[kind][1])
