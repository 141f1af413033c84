"""The convertible model families, and their differences beyond the tensors that a file has."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from crossette.engines.openvino.gguf.shape import Shape
from crossette.engines.openvino.gguf.weights import Order


@dataclass(frozen=True, slots=True)
class Family:
    """A transformer of norms, rotary attention and MLPs, or experts.

    Biases, query and key norms, norms after a part, attention sinks, fused matrices, experts, and a separate LM head
    are optional tensors of a file, so they are not listed here.
    """

    adjacent_pairs: bool = False
    """Whether rotary pairs are adjacent features of a head, not corresponding features of its two halves."""
    layer_norms: bool = False
    """Whether norms subtract the mean (LayerNorm), instead of RMS norms."""
    gelu: bool = False
    """Whether the activation is GELU, in its tanh form, not SiLU."""
    scaled_embeddings: bool = False
    """Whether embeddings are multiplied with the square root of the width."""
    wide_attention_layers: int | None = None
    """Number of layers of the model of this family whose attention scale is that of heads as wide as
    width / heads, though they are narrower or wider."""
    window_period: int | None = None
    """Layers with sliding window attention: all but the last of each period; 0: all; None: windows are refused."""
    window: int | None = None
    """The window if the file declares none."""
    sliding_base: float | None = None
    """The rotary base of layers with a sliding window if the file declares none; None: that of the others."""
    sliding_unscaled: bool = False
    """Whether rope scaling leaves out the layers with a sliding window."""
    unrotated_period: int = 0
    """The last layer of each period has no positions; 0: none."""
    pre_norms: bool = True
    """Whether attention and MLP have a norm before them."""
    post_norms: bool = False
    """Whether they have one behind them."""
    ffn_norm: str = "ffn_norm"
    """The tensor of the norm before the MLP."""
    renormalised: bool = True
    """Whether the weights of the chosen experts of a token add up to 1."""
    clamped_experts: bool = False
    """Whether the experts' MLPs are those of gpt-oss."""
    whole_yarn_pairs: bool = True
    """Whether the pairs where YaRN's ramp starts and ends are rounded outwards."""
    keys: frozenset[str] = frozenset()
    """The supported metadata keys, after the architecture's prefix, of those that most families do not have."""

    def rows(self, num_heads: int, shape: Shape, rotated: int) -> Order:
        """The row order of queries or keys that puts rotary pairs into the two halves of a head."""
        head = np.arange(shape.head_size)
        if self.adjacent_pairs:
            head[:rotated] = head[:rotated].reshape(-1, 2).T.ravel()
        return (np.arange(num_heads)[:, None] * shape.head_size + head).ravel()


_EXPERTS = frozenset({"expert_count", "expert_used_count"})
_SCALES = frozenset({"attention.scale", "embedding_scale", "residual_scale", "logit_scale"})

FAMILIES = {
    "llama": Family(adjacent_pairs=True, keys=_EXPERTS),
    "mistral3": Family(adjacent_pairs=True, keys=frozenset({"attention.temperature_scale"})),
    "qwen2": Family(),
    "qwen2moe": Family(renormalised=False, keys=_EXPERTS),
    "qwen3": Family(),
    "qwen3moe": Family(keys=_EXPERTS),
    "gemma3": Family(
        post_norms=True,
        gelu=True,
        scaled_embeddings=True,
        wide_attention_layers=62,
        window_period=6,
        sliding_base=10_000.0,
        sliding_unscaled=True,
        keys=frozenset({"final_logit_softcapping"}),
    ),
    "phi3": Family(window_period=0),
    "smollm3": Family(adjacent_pairs=True, unrotated_period=4),
    "granite": Family(adjacent_pairs=True, keys=_SCALES),
    "granitemoe": Family(adjacent_pairs=True, keys=_SCALES | _EXPERTS),
    "gpt-oss": Family(
        window_period=2,
        ffn_norm="post_attention_norm",
        clamped_experts=True,
        whole_yarn_pairs=False,
        keys=_EXPERTS,
    ),
    # The published models of this family attend to 4,096 tokens, which their files do not declare.
    "starcoder2": Family(layer_norms=True, gelu=True, window_period=0, window=4096),
    "olmo2": Family(pre_norms=False, post_norms=True, window_period=4, sliding_unscaled=True),
    "glm4": Family(adjacent_pairs=True, post_norms=True),
}
"""By `general.architecture`."""
