"""One vector for a text, from those of its tokens."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from crossette.types import Pooling

Vectors = npt.NDArray[np.float32]


def pool(hidden: Vectors, pooling: Pooling) -> Vectors:
    """Vectors `[rows, width]` from those of the tokens, `[rows, tokens, width]`: each row by itself."""
    match pooling:
        case "mean":
            return np.stack([row.mean(axis=0) for row in hidden])
        case "cls":
            return hidden[:, 0].copy()
        case "last":
            return hidden[:, -1].copy()
