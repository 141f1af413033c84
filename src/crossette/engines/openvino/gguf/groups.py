"""How a graph holds the scales and minima of a matrix: as `(integer - zero) * scale`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from crossette.engines.openvino.gguf.blocks import Bytes, Floats, Format
from crossette.errors import ModelError

_ROUNDING = 2.0**-11
"""Of a number in 16 bits."""


@dataclass(frozen=True, slots=True)
class Groups:
    """The scales of a matrix, and what is subtracted from its integers before: `[rows, groups]`, or one for all."""

    scales: npt.NDArray[Any]
    zeros: npt.NDArray[Any] | int
    flat: npt.NDArray[np.bool_] | None = None
    """Groups whose weights are all the same: their integers have to be 0."""


def read_groups(known: Format, blocks: Bytes, name: str) -> Groups:
    """Raises ModelError where the blocks of the tensor of that name hold no numbers."""
    rows = len(blocks)
    with np.errstate(invalid="ignore", over="ignore"):
        scales = known.scales(blocks).reshape(rows, -1)
        minima = known.minima(blocks).reshape(rows, -1) if known.minima else None
    if not np.isfinite(scales).all() or not (minima is None or np.isfinite(minima).all()):
        raise ModelError(f"its tensor '{name}' has scales that are no numbers, so the file is damaged")
    return grouped(scales, minima, known.zero)


def grouped(scales: Floats, minima: Floats | None, zero: int) -> Groups:
    """Scales and zero points in 16 bits, or in 32 where the scales are too small for that.

    Where a minimum is so many scales that no such number says how many, the group's weights differ by less than the
    rounding of the minimum: all of them become the minimum.
    """
    kind = _precision(scales)
    rounded: npt.NDArray[Any] = scales.astype(kind)
    if minima is None:
        return Groups(rounded, zero)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        zeros: npt.NDArray[Any] = (-minima / rounded).astype(kind)
    flat = ~np.isfinite(zeros)
    if not flat.any():
        return Groups(rounded, zeros)
    rounded[flat], zeros[flat] = np.abs(minima[flat]), -np.sign(minima[flat])
    return Groups(rounded, zeros, flat)


def _precision(scales: Floats) -> type[np.float16] | type[np.float32]:
    """16 bits, which round to 11, unless scales are so small that they would lose more, or too large."""
    with np.errstate(over="ignore"):
        error = np.linalg.norm(scales.astype(np.float16).astype(np.float32) - scales)
    return np.float16 if error <= _ROUNDING * np.linalg.norm(scales) else np.float32
