"""Convert the scales and minima of a matrix to the graph's form, `(integer - zero) * scale`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from crossette.engines.openvino.gguf.blocks import Bytes, Floats, Format
from crossette.errors import ModelError

_ROUNDING = 2.0**-11
"""Relative rounding error of 16-bit floats."""


@dataclass(frozen=True, slots=True)
class Groups:
    """The scales and zero points of a matrix: `[rows, groups]`, or one zero point for all."""

    scales: npt.NDArray[Any]
    zeros: npt.NDArray[Any] | int
    flat: npt.NDArray[np.bool_] | None = None
    """Groups whose weights are all equal: their integers must be 0."""


def read_groups(layout: Format, blocks: Bytes, name: str) -> Groups:
    """Read the groups of a tensor. Raises ModelError if scales or minima are not finite."""
    rows = len(blocks)
    with np.errstate(invalid="ignore", over="ignore"):
        scales = layout.scales(blocks).reshape(rows, -1)
        minima = layout.minima(blocks).reshape(rows, -1) if layout.minima else None
    if not np.isfinite(scales).all() or not (minima is None or np.isfinite(minima).all()):
        raise ModelError(f"its tensor '{name}' has scales that are not finite, so the file is damaged")
    return grouped(scales, minima, layout.zero)


def grouped(scales: Floats, minima: Floats | None, zero: int) -> Groups:
    """Scales and zero points in 16 bits, or in 32 if the scales are too small for that.

    Where a zero point would overflow, the group's weights differ by less than the rounding error of the minimum: all of
    them become the minimum.
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
    """16 bits, unless the scales are so small that they would lose precision, or too large."""
    with np.errstate(over="ignore"):
        error = np.linalg.norm(scales.astype(np.float16).astype(np.float32) - scales)
    return np.float16 if error <= _ROUNDING * np.linalg.norm(scales) else np.float32
