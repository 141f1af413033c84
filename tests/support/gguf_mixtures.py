"""The tensor types of quantisation mixtures, as llama.cpp's `quantize` assigns them.

Mixtures use more bits for attention values, `ffn_down` and the LM head.
"""

from __future__ import annotations

from collections.abc import Iterable

from gguf.constants import GGMLQuantizationType

from support.tiny_model import Weights

T = GGMLQuantizationType

SUPER_BLOCKS = ("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_XS")
PURE = ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "IQ4_NL", *SUPER_BLOCKS)
FLOATS = ("F16", "BF16", "F32")
MIXED = ("Q3_K_M", "Q4_K_S", "Q4_K_M", "Q5_K_M")


def weights_of(quantization: str, layers: int, **others: object) -> Weights:
    """The tensor types of a quantisation by its usual name; `others` are further fields of `Weights`."""
    more = [layer for layer in range(layers) if layer < layers // 8 or layer >= 7 * layers // 8 or layer % 3 == 2]
    head = {"token_embd.weight": T.Q6_K, "output.weight": T.Q6_K}
    match quantization:
        case "Q4_K_M":
            kind, mixed = T.Q4_K, {**head, **_of(more, ("attn_v", "ffn_down"), T.Q6_K)}
        case "Q5_K_M":
            kind, mixed = T.Q5_K, {**head, **_of(more, ("attn_v", "ffn_down"), T.Q6_K)}
        case "Q4_K_S":
            few = range(min(4, layers))
            kind, mixed = T.Q4_K, {**head, **_of(few, ("attn_v",), T.Q5_K), **_of(more[:1], ("ffn_down",), T.Q5_K)}
        case "Q3_K_M":
            every = range(layers)
            kind, mixed = T.Q3_K, {**head, **_of(every, ("attn_v", "attn_output", "ffn_down"), T.Q4_K)}
        case _:
            kind, mixed = GGMLQuantizationType[quantization], {}
    return Weights(kind=kind, others=mixed, **others)  # type: ignore[arg-type]  # fields of Weights, by name


def _of(layers: Iterable[int], names: Iterable[str], kind: T) -> dict[str, T]:
    return {f"blk.{layer}.{name}.weight": kind for layer in layers for name in names}
