"""The tiny models on which the reference implementation is compared with transformers."""

from __future__ import annotations

from pathlib import Path

from gguf import GGMLQuantizationType

from support.tiny_model import Weights, write_tiny_gguf

DATA = Path(__file__).parents[1] / "data" / "reference.json"

TOKENS = [3 + (7 * i * i + 5 * i) % 256 for i in range(100)]
"""Longer than the original context length of the rope scalings."""

NUM_KEPT = 64
"""Number of the last token's logits in the file, from the first."""

CASES = {
    "llama": ("llama", Weights()),
    "llama-untied": ("llama", Weights(tied=False, kind=GGMLQuantizationType.Q4_K)),
    "llama3-rope": ("llama", Weights(rope="llama3")),
    "linear-rope": ("llama", Weights(rope="linear")),
    "yarn-rope": ("qwen2", Weights(rope="yarn")),
    "qwen2": ("qwen2", Weights()),
    "qwen3": ("qwen3", Weights(tied=False)),
}
"""Architecture and weights by name."""


def write_case(path: Path, name: str) -> Path:
    architecture, weights = CASES[name]
    return write_tiny_gguf(path, layers=2, architecture=architecture, weights=weights)
