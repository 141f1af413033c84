"""The dimensions of a model, read from its metadata."""

from __future__ import annotations

import math
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
    """The epsilon of RMS norms."""


_MOST = 1 << 16
"""An upper bound of heads, features of a head and layers: larger values mean a damaged file."""


def read_shape(head: GgufHead) -> Shape:
    """Read the dimensions. Raises ModelError if one is missing or invalid, or if heads cannot share keys evenly."""
    architecture = head.text("general.architecture") or "unknown"
    heads = _size(head, f"{architecture}.attention.head_count")
    shape = Shape(
        architecture=architecture,
        layers=_size(head, f"{architecture}.block_count"),
        heads=heads,
        kv_heads=_size(head, f"{architecture}.attention.head_count_kv", heads),
        head_size=_size(
            head,
            f"{architecture}.attention.key_length",
            (head.number(f"{architecture}.embedding_length") or 0) // heads,
        ),
        epsilon=real_size(head, f"{architecture}.attention.layer_norm_rms_epsilon", 1e-5),
    )
    values = head.number(f"{architecture}.attention.value_length") or shape.head_size
    if heads % shape.kv_heads or values != shape.head_size:
        raise ModelError(
            f"its {heads} heads of size {shape.head_size} have {shape.kv_heads} KV heads with values of size {values}:"
            " the number of heads must be a multiple of that of KV heads, and the sizes must be equal"
        )
    return shape


def _size(head: GgufHead, key: str, default: int | None = None) -> int:
    value = head.number(key)
    value = default if value is None else value
    if value is None:
        raise ModelError(f"its metadata has no number {key}")
    if not 0 < value <= _MOST:
        raise ModelError(f"its {key} is {value}")
    return value


def real_size(head: GgufHead, key: str, default: float) -> float:
    """A positive number of the metadata. Raises ModelError if it is not positive and finite."""
    value = head.real(key)
    value = default if value is None else value
    if not 0 < value < math.inf:
        raise ModelError(f"its {key} is {value:g}")
    return value
