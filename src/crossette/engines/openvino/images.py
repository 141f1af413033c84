"""The embeddings of images at their places in a prompt."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from crossette.types import PlacedImage, PromptImage


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class EmbeddedImage(PromptImage):
    """An image whose embeddings are computed."""

    rows: npt.NDArray[np.float32]
    """`[rows, width]`."""
    positions: npt.NDArray[np.int64]
    """The index in `tokens` that each row takes, in ascending order."""


class Rows(NamedTuple):
    """Embeddings in a chunk of tokens: `rows[k]` takes the place of token `indices[k]`."""

    indices: npt.NDArray[np.int64]
    rows: npt.NDArray[np.float32]


def rows_within(images: Iterable[PlacedImage], start: int, count: int) -> Iterator[Rows]:
    """The embeddings among the `count` tokens of a prompt from `start` on."""
    for placed in images:
        image = placed.image
        if not isinstance(image, EmbeddedImage) or placed.start >= start + count or placed.end <= start:
            continue
        positions = image.positions + placed.start
        first, last = np.searchsorted(positions, (start, start + count))
        if first < last:
            yield Rows(positions[first:last] - start, image.rows[first:last])
