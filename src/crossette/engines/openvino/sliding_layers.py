"""Layers with sliding window attention in a paged graph: given block tables of their own, so that blocks can be freed.

The attention kernel multiplies the values of blocks before the window by zero. So any block may stand in their place
whose numbers are finite.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import openvino as ov
from openvino import opset13 as ops

WINDOW_BLOCKS = "window_block_indices"
"""An input that we add: the block tables of these layers."""

SLIDING_WINDOW = 10
_KEY_CACHE, _VALUE_CACHE, _BLOCKS = 3, 4, 7
"""Input ports of the attention node."""

_Node = Any  # ov.Node: the package has no stubs for it


@dataclass(frozen=True, slots=True)
class SlidingLayers:
    """The layers whose blocks can be freed."""

    window: int = 0
    """The longest of their windows, in tokens, the token itself included; 0 without any."""
    caches: frozenset[str] = frozenset()
    """The names of their key and value caches."""


def attentions(model: ov.Model) -> list[_Node]:
    """The attention nodes of a paged graph."""
    return [node for node in model.get_ops() if node.get_type_name() == "PagedAttentionExtension"]


def slides(model: ov.Model) -> bool:
    """Whether some layers have sliding window attention, of a fixed length or not."""
    windows = [node.input_value(SLIDING_WINDOW).get_node() for node in attentions(model)]
    return any(window.get_type_name() != "Constant" or window.get_data().any() for window in windows)


def separate_sliding_layers(model: ov.Model, num_tokens: int) -> SlidingLayers:
    """Give the layers whose window is shorter than `num_tokens`, the longest sequence, an input for their block tables.

    Modifies `model`.
    """
    sliding = [(node, window) for node, window in fixed_windows(model) if 0 < window < num_tokens]
    if not sliding:
        return SlidingLayers()
    tables = ops.parameter([-1], np.int32, name=WINDOW_BLOCKS)
    tables.get_output_tensor(0).set_names({WINDOW_BLOCKS})
    for node, _ in sliding:
        node.input(_BLOCKS).replace_source_output(tables.output(0))
    model.add_parameters([tables])
    model.validate_nodes_and_infer_types()
    return SlidingLayers(
        max(window for _, window in sliding),
        frozenset(node.input_value(port).get_any_name() for node, _ in sliding for port in (_KEY_CACHE, _VALUE_CACHE)),
    )


def fixed_windows(model: ov.Model) -> list[tuple[_Node, int]]:
    """The attention nodes whose window is computed from constants alone, and the windows in tokens; 0 for none."""
    fixed = [node for node in attentions(model) if _is_fixed(node.input_value(SLIDING_WINDOW).get_node())]
    if not fixed:
        return []
    values = ov.Model([node.input_value(SLIDING_WINDOW) for node in fixed], [], "windows").clone()
    windows = ov.Core().compile_model(values, "CPU")(())
    return [(node, int(windows[port].item())) for port, node in enumerate(fixed)]


def _is_fixed(node: _Node) -> bool:
    return node.get_type_name() != "Parameter" and all(_is_fixed(value.get_node()) for value in node.input_values())
