"""Vectors as an answer has them: shortened, scaled, and as text."""

from __future__ import annotations

import base64

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]


def shortened(vectors: Vectors, dimensions: int | None) -> Vectors:
    """The first numbers of each vector; all of them for None."""
    return vectors if dimensions is None else vectors[:, :dimensions]


def unit(vectors: Vectors) -> Vectors:
    """Each vector scaled to length 1, by itself. A vector of zeros stays one."""
    wide = vectors.astype(np.float64)
    lengths = np.array([np.sqrt(np.square(row).sum()) for row in wide])
    scaled: Vectors = (wide / np.where(lengths > 0, lengths, 1)[:, None]).astype(np.float32)
    return scaled


def similarities(query: Vectors, documents: Vectors) -> list[float]:
    """The cosine of the angle between the query and each document: 1 for the same direction, -1 for the opposite."""
    wide = unit(query[None])[0].astype(np.float64)
    return [min(1.0, max(-1.0, float((wide * row).sum()))) for row in unit(documents).astype(np.float64)]


def as_base64(vector: Vectors) -> str:
    """The numbers as 32-bit floats, little-endian."""
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()
