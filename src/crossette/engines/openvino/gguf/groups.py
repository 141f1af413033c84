"""Convert the scales and minima of a matrix to the graph's form, `(integer - zero) * scale`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from crossette.engines.openvino.gguf.blocks import Bytes, Floats, Format
from crossette.errors import ModelError


@dataclass(frozen=True, slots=True)
class Groups:
    """The scales and zero points of a matrix: `[rows, groups]`, or one zero point for all."""

    scales: Floats
    zeros: Floats | int
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
    """Scales and zero points in 32 bits: the plug-in computes with these, and keeps a copy of any others.

    Where a zero point would overflow, the scale is so small that all weights of the group are equal to their minimum.
    """
    if minima is None:
        return Groups(scales, zero)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        zeros: Floats = -minima / scales
    flat = ~np.isfinite(zeros)
    if not flat.any():
        return Groups(scales, zeros)
    scales = scales.copy()
    scales[flat], zeros[flat] = np.abs(minima[flat]), -np.sign(minima[flat])
    return Groups(scales, zeros, flat)
