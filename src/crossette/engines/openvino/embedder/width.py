"""The widest batch in which a text has the vector that it has alone, measured at load."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from crossette.engines.openvino.embedder.model import EncoderModel

_NARROWEST = 64
"""Tokens. Kernels are chosen by the shape of a batch; narrower ones have not been seen to differ."""
_LENGTHS = (3, 16, 30)
"""Tokens of the texts that are compared."""


def measure_width(model: EncoderModel, *, limit: int, vocab_size: int) -> int:
    """The tokens of a batch up to which vectors do not depend on it, at most `limit`; 1 if they always do."""
    exact = 1
    for width in _widths(limit):
        if not all(_is_exact(model, width // length, length, vocab_size) for length in _LENGTHS if length <= width):
            break
        exact = width
    return exact


def _widths(limit: int) -> Iterator[int]:
    """Doubling, and the limit itself."""
    width = _NARROWEST
    while width < limit:
        yield width
        width *= 2
    yield limit


def _is_exact(model: EncoderModel, num_rows: int, length: int, vocab_size: int) -> bool:
    """Whether the first and the last of these rows have the same vectors alone, to the last bit."""
    rows = np.random.default_rng(length).integers(0, vocab_size, (num_rows, length), np.int64)
    together = model.forward(rows).copy()
    return all(np.array_equal(model.forward(rows[[index]])[0], together[index]) for index in (0, num_rows - 1))
