"""What differs between the layers of a model: windows and positions."""

from __future__ import annotations

from dataclasses import dataclass

from crossette.engines.openvino.gguf.families import Family
from crossette.engines.openvino.gguf.head import GgufHead
from crossette.errors import ModelError


@dataclass(frozen=True, slots=True)
class Layer:
    window: int | None
    """Number of tokens that its attention reaches, the token itself included; None: all."""
    rotated: bool = True
    """Whether its attention has positions."""


def read_layers(head: GgufHead, architecture: str, family: Family, count: int) -> tuple[Layer, ...]:
    """Read the layers' differences. Raises ModelError for a pattern of another length than the model."""
    window = declared_window(head, architecture, family)
    sliding = _sliding(head, architecture, family, count) if window else (False,) * count
    period = family.unrotated_period
    return tuple(
        Layer(window if slides else None, rotated=not period or (index + 1) % period != 0)
        for index, slides in enumerate(sliding)
    )


def declared_window(head: GgufHead, architecture: str, family: Family) -> int | None:
    """The sliding window; None if there is none, or if it is no shorter than the context."""
    window = head.number(f"{architecture}.attention.sliding_window")
    window = family.window if window is None else window
    return window if window and window < (head.number(f"{architecture}.context_length") or 0) else None


def _sliding(head: GgufHead, architecture: str, family: Family, count: int) -> tuple[bool, ...]:
    """Which layers have the window: by the file's pattern, a list or a period, else by the family's period."""
    key = f"{architecture}.attention.sliding_window_pattern"
    if pattern := head.list(key):
        if len(pattern) != count:
            raise ModelError(f"its {key} has {len(pattern)} layers, and the model {count}")
        return tuple(bool(slides) for slides in pattern)
    period = head.number(key)
    period = family.window_period if period is None else period
    return tuple(not period or index % period < period - 1 for index in range(count))
