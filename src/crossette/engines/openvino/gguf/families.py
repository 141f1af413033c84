"""The convertible model families, and their differences beyond the tensors that a file has."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from crossette.engines.openvino.gguf.shape import Shape
from crossette.engines.openvino.gguf.weights import Order


@dataclass(frozen=True, slots=True)
class Family:
    """A transformer of RMS norms, rotary attention and gated MLPs.

    Biases, query and key norms, and a separate LM head are optional tensors of a file, so they are not listed here.
    """

    adjacent_pairs: bool = False
    """Whether rotary pairs are adjacent features of a head, not corresponding features of its two halves."""

    def rows(self, num_heads: int, shape: Shape, rotated: int) -> Order:
        """The row order of queries or keys that puts rotary pairs into the two halves of a head."""
        head = np.arange(shape.head_size)
        if self.adjacent_pairs:
            head[:rotated] = head[:rotated].reshape(-1, 2).T.ravel()
        return (np.arange(num_heads)[:, None] * shape.head_size + head).ravel()


FAMILIES = {
    "llama": Family(adjacent_pairs=True),
    "qwen2": Family(),
    "qwen3": Family(),
}
"""By `general.architecture`."""
