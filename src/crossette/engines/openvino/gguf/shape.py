"""The dimensions of a model and the constants of its computation, read from its metadata."""

from __future__ import annotations

import math
from dataclasses import dataclass

from crossette.engines.openvino.gguf.head import GgufHead
from crossette.errors import ModelError


@dataclass(frozen=True, slots=True)
class Shape:
    architecture: str
    width: int
    layers: int
    heads: int
    kv_heads: int
    head_size: int
    epsilon: float
    """The epsilon of norms."""
    experts_used: int = 0
    """Number of experts that compute a token; 0 without experts."""


@dataclass(frozen=True, slots=True)
class Scales:
    """Factors that some families declare; None where there are none."""

    attention: float | None = None
    """Of scores, instead of 1 / sqrt(head size)."""
    embeddings: float | None = None
    residual: float | None = None
    """Of what a layer's parts add."""
    logits: float | None = None
    """Logits are divided by it."""
    logits_cap: float | None = None
    """Logits are bent to stay below it: cap * tanh(logits / cap)."""
    temperature: tuple[float, float] | None = None
    """Factor and length n: queries are scaled by 1 + factor * log(1 + floor(position / n))."""


_MOST = 1 << 16
"""An upper bound of heads, features of a head and layers: larger values mean a damaged file."""


def read_shape(head: GgufHead) -> Shape:
    """Read the dimensions. Raises ModelError if one is missing or invalid, or if heads cannot share keys evenly."""
    architecture = head.text("general.architecture") or "unknown"
    heads = _size(head, f"{architecture}.attention.head_count")
    width = _size(head, f"{architecture}.embedding_length")
    epsilon = real_size(head, f"{architecture}.attention.layer_norm_epsilon", 1e-5)
    shape = Shape(
        architecture=architecture,
        width=width,
        layers=_size(head, f"{architecture}.block_count"),
        heads=heads,
        kv_heads=_size(head, f"{architecture}.attention.head_count_kv", heads),
        head_size=_size(head, f"{architecture}.attention.key_length", width // heads),
        epsilon=real_size(head, f"{architecture}.attention.layer_norm_rms_epsilon", epsilon),
        experts_used=_experts_used(head, architecture),
    )
    values = head.number(f"{architecture}.attention.value_length") or shape.head_size
    if heads % shape.kv_heads or values != shape.head_size:
        raise ModelError(
            f"its {heads} heads of size {shape.head_size} have {shape.kv_heads} KV heads with values of size {values}:"
            " the number of heads must be a multiple of that of KV heads, and the sizes must be equal"
        )
    return shape


def read_scales(head: GgufHead, architecture: str) -> Scales:
    """Read the factors; those that a family does not support are refused before (convert.py)."""
    names = ("attention.scale", "embedding_scale", "residual_scale", "logit_scale", "final_logit_softcapping")
    # 0 means that there is none, as in llama.cpp.
    values = (head.real(f"{architecture}.{name}") and real_size(head, f"{architecture}.{name}", 1) for name in names)
    attention, embeddings, residual, logits, cap = (value or None for value in values)
    temperature = None
    if head.real(f"{architecture}.attention.temperature_scale"):
        factor = real_size(head, f"{architecture}.attention.temperature_scale", 1)
        temperature = (factor, trained_length(head, architecture))
    return Scales(attention, embeddings, residual, logits, cap, temperature)


def trained_length(head: GgufHead, architecture: str) -> float:
    """The context length before rope scaling."""
    context_length = real_size(head, f"{architecture}.context_length", 1)
    return real_size(head, f"{architecture}.rope.scaling.original_context_length", context_length)


def _experts_used(head: GgufHead, architecture: str) -> int:
    experts = head.number(f"{architecture}.expert_count")
    if not experts:
        return 0
    used = _size(head, f"{architecture}.expert_used_count")
    if used > experts:
        raise ModelError(f"its tokens use {used} experts, and it has {experts}")
    return used


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
