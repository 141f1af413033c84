"""The sizes of a model, as the metadata of its file tell them."""

from __future__ import annotations

from dataclasses import dataclass

from crossette.engines.openvino.gguf.head import GgufHead
from crossette.errors import ModelError


@dataclass(frozen=True, slots=True)
class Shape:
    architecture: str
    layers: int
    heads: int
    kv_heads: int
    head_size: int
    epsilon: float
    """What RMS norms add to the mean of squares."""


def read_shape(head: GgufHead) -> Shape:
    """Raises ModelError where a size is missing, or where heads cannot share keys evenly."""
    architecture = head.text("general.architecture") or "unknown"
    heads = needed(head, f"{architecture}.attention.head_count")
    shape = Shape(
        architecture=architecture,
        layers=needed(head, f"{architecture}.block_count"),
        heads=heads,
        kv_heads=head.number(f"{architecture}.attention.head_count_kv") or heads,
        head_size=head.number(f"{architecture}.attention.key_length")
        or needed(head, f"{architecture}.embedding_length") // heads,
        epsilon=head.real(f"{architecture}.attention.layer_norm_rms_epsilon") or 1e-5,
    )
    values = head.number(f"{architecture}.attention.value_length") or shape.head_size
    if heads % shape.kv_heads or values != shape.head_size:
        raise ModelError(
            f"its {heads} heads of {shape.head_size} have {shape.kv_heads} keys, and values of {values}: heads must"
            " share keys evenly, and values must have their size"
        )
    return shape


def needed(head: GgufHead, key: str) -> int:
    if value := head.number(key):
        return value
    raise ModelError(f"its metadata has no number {key}")
