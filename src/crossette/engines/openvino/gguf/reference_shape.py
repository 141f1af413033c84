"""What a GGUF file's metadata and its family say about the computation, for the reference implementation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from crossette.engines.openvino.gguf.head import GgufHead
from crossette.errors import ModelError


@dataclass(frozen=True, slots=True)
class Traits:
    """How a family differs from llama, beyond tensors and metadata."""

    adjacent: bool = False
    """Whether rotary pairs are adjacent, or corresponding features of the two halves."""
    centred: bool = False
    """Whether norms subtract the mean."""
    gelu: bool = False
    order: str = "before"
    """Where norms are: before a part, after it, or both."""
    every_full: int | None = None
    """Of layers with a window each of this number is without one; 0: none is; None: windows are unknown."""
    default_window: int = 0
    base_in_windows: float | None = None
    """The rotary base of layers with a window; None: that of all."""
    plain_in_windows: bool = False
    """Whether these layers are without rope scaling."""
    every_unrotated: int = 0
    second_norm: str = "ffn_norm"
    oai: bool = False
    """gpt-oss: clamped experts, and a ramp of YaRN that starts and ends between pairs."""
    softmax_first: bool = False
    """Whether experts are weighted by their share of all, not of the chosen ones."""
    root_embeddings: bool = False
    large: int = 0
    """The number of layers of the model whose queries are scaled by the width per head."""


TRAITS = {
    "llama": Traits(adjacent=True),
    "mistral3": Traits(adjacent=True),
    "qwen2": Traits(),
    "qwen2moe": Traits(softmax_first=True),
    "qwen3": Traits(),
    "qwen3moe": Traits(),
    "gemma3": Traits(
        gelu=True,
        order="both",
        every_full=6,
        base_in_windows=1e4,
        plain_in_windows=True,
        root_embeddings=True,
        large=62,
    ),
    "phi3": Traits(every_full=0),
    "smollm3": Traits(adjacent=True, every_unrotated=4),
    "granite": Traits(adjacent=True),
    "granitemoe": Traits(adjacent=True),
    "gpt-oss": Traits(every_full=2, second_norm="post_attention_norm", oai=True),
    "starcoder2": Traits(centred=True, gelu=True, every_full=0, default_window=4096),
    "olmo2": Traits(order="after", every_full=4, plain_in_windows=True),
    "glm4": Traits(adjacent=True, order="both"),
}


@dataclass(frozen=True, slots=True)
class Shape:
    traits: Traits
    layers: int
    heads: int
    kv_heads: int
    head_size: int
    rotated: int
    """Number of rotated features of each head: the first ones."""
    epsilon: float
    experts: int
    experts_used: int
    score_scale: float
    embedding_scale: float
    residual_scale: float
    logit_divisor: float
    logit_cap: float | None
    windows: tuple[int, ...]
    """Of each layer; 0: none."""

    @property
    def adjacent(self) -> bool:
        return self.traits.adjacent


def shape_of(path: Path, head: GgufHead) -> Shape:
    """Read the shape. Raises ModelError for an unknown family, and for missing metadata."""
    name = head.text("general.architecture")
    if name not in TRAITS:
        raise ModelError(f"Can't compute {path}: '{name}' is not one of {', '.join(TRAITS)}.")
    traits = TRAITS[name]
    heads = required(path, head, f"{name}.attention.head_count")
    width = required(path, head, f"{name}.embedding_length")
    layers = required(path, head, f"{name}.block_count")
    head_size = head.number(f"{name}.attention.key_length") or width // heads
    size_of_scores = width / heads if traits.large == layers else head_size
    return Shape(
        traits=traits,
        layers=layers,
        heads=heads,
        kv_heads=head.number(f"{name}.attention.head_count_kv") or heads,
        head_size=head_size,
        rotated=head.number(f"{name}.rope.dimension_count") or head_size,
        epsilon=head.real(f"{name}.attention.layer_norm_{'' if traits.centred else 'rms_'}epsilon") or 1e-5,
        experts=head.number(f"{name}.expert_count") or 0,
        experts_used=head.number(f"{name}.expert_used_count") or 0,
        score_scale=head.real(f"{name}.attention.scale") or size_of_scores**-0.5,
        embedding_scale=width**0.5 if traits.root_embeddings else head.real(f"{name}.embedding_scale") or 1.0,
        residual_scale=head.real(f"{name}.residual_scale") or 1.0,
        logit_divisor=head.real(f"{name}.logit_scale") or 1.0,
        logit_cap=head.real(f"{name}.final_logit_softcapping"),
        windows=_windows(path, head, name, traits, layers),
    )


def _windows(path: Path, head: GgufHead, name: str, traits: Traits, layers: int) -> tuple[int, ...]:
    window = head.number(f"{name}.attention.sliding_window")
    if window is None:
        window = traits.default_window
    if not window or window >= required(path, head, f"{name}.context_length"):
        return (0,) * layers
    if traits.every_full is None:
        raise ModelError(f"Can't compute {path}: its family is not known to have windows.")
    if flags := head.list(f"{name}.attention.sliding_window_pattern"):
        return tuple(window if flag else 0 for flag in flags)
    period = head.number(f"{name}.attention.sliding_window_pattern")
    period = traits.every_full if period is None else period
    return tuple(0 if period and layer % period == period - 1 else window for layer in range(layers))


def required(path: Path, head: GgufHead, key: str) -> int:
    if not (value := head.number(key)):
        raise ModelError(f"Can't compute {path}: its metadata has no {key}.")
    return value
