"""The families whose files can be converted, and where they differ beyond the tensors that they have."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from crossette.engines.openvino.gguf.shape import Shape
from crossette.engines.openvino.gguf.weights import Order


@dataclass(frozen=True, slots=True)
class Family:
    """A transformer of RMS norms, rotary attention and gated MLPs.

    Biases, norms of queries and keys, and a head of its own are parts that a file has or has not; they need no word
    here.
    """

    adjacent_pairs: bool = False
    """Whether rotary positions turn a head's features 0 and 1, 2 and 3 and so on, and not those of two halves."""

    def rows(self, num_heads: int, shape: Shape, rotated: int) -> Order:
        """The rows of queries or keys, so that the pairs that are turned together stand in two halves."""
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
