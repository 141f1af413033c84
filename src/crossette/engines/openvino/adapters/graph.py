"""Adapters as branches of a graph: `y = x @ w.T` becomes `y + ((x @ a.T) * scales) @ b.T`.

`a` and `b` hold all adapters, one after the other along their ranks. `scales` has a row per token, which is zero but
for the ranks of the token's own adapter. What the other adapters add is exactly zero, so tokens of different adapters,
and of none, share a step and do not affect each other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov
from openvino import opset13 as ops

from crossette.engines.openvino.adapters.read import Adapter, LowRank
from crossette.errors import ModelError

ADAPTERS = "adapter_indices"
"""An input that we add, `[tokens]`: 0 for a token without an adapter, else its adapter's number from 1."""

_EXPORTED = re.compile(r"(?:__module\.)?(?P<module>.+)/(?:aten|ov_ext)::linear/MatMul")
_WEIGHT = re.compile(r"(?:self\.)?(?P<module>.+)\.weight")
_FROM_GGUF = re.compile(r"blk\.(?P<layer>\d+)\.(?P<tensor>\w+)\.weight(?:\.\w+)?")

_GGUF_MODULES = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_qkv": "self_attn.qkv_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_FUSED_UP = "mlp.gate_up_proj"
"""The module of ffn_up in a file without ffn_gate."""

_SAME_ROWS = frozenset({"llama", "qwen2", "qwen3"})
"""Families whose graph from GGUF is known to have the rows of queries and keys in the order of the checkpoint."""

_FROM_LAYER = re.compile(r"(?:^|.*?\.)(?P<path>(?:layers|h|blocks)\.\d+\..+)")


def add_adapters(model: ov.Model, adapters: Sequence[Adapter], family: str) -> None:
    """Add the branches and the input ADAPTERS; has no effect without adapters.

    `family` is the model's architecture. Raises ModelError for an adapter of another base.
    """
    if not adapters:
        return
    products = dict(_products(model, family))
    by_module = [_by_layer(adapter) for adapter in adapters]
    for adapter, modules in zip(adapters, by_module, strict=True):
        for module, low_rank in modules.items():
            _check(adapter.name, module, low_rank, products)
    indices = ops.parameter([-1], np.int64, name=ADAPTERS)
    indices.get_output_tensor(0).set_names({ADAPTERS})
    scales = _Scales(indices, len(adapters))
    for module, nodes in products.items():
        parts = [(number, modules[module]) for number, modules in enumerate(by_module, 1) if module in modules]
        for node in nodes if parts else ():
            _add_branch(node, parts, scales)
    model.add_parameters([indices])
    model.validate_nodes_and_infer_types()


class _Scales:
    """The scales `[tokens, ranks]` of a product; products with the same adapters, ranks and scales share them."""

    def __init__(self, indices: ov.Node, num_adapters: int) -> None:
        self._indices = indices
        self._num_adapters = num_adapters
        self._nodes: dict[tuple[tuple[int, int, float], ...], ov.Node] = {}

    def of(self, parts: Sequence[tuple[int, LowRank]]) -> ov.Node:
        key = tuple((number, part.rank, part.scale) for number, part in parts)
        if key not in self._nodes:
            table = ops.constant(scale_table(key, self._num_adapters))
            self._nodes[key] = ops.gather(table, self._indices, ops.constant(np.int64(0)))
        return self._nodes[key]


def scale_table(parts: Sequence[tuple[int, int, float]], num_adapters: int) -> npt.NDArray[np.float32]:
    """The scales of each adapter, `[adapters + 1, ranks]`. `parts` are numbers of adapters, their ranks and scales."""
    table = np.zeros((num_adapters + 1, sum(rank for _, rank, _ in parts)), np.float32)
    begin = 0
    for number, rank, scale in parts:
        table[number, begin : begin + rank] = scale
        begin += rank
    return table


def _add_branch(product: Any, parts: Sequence[tuple[int, LowRank]], scales: _Scales) -> None:
    x = product.input_value(0)
    scale = scales.of(parts)
    if len(x.get_partial_shape()) == 3:
        scale = ops.unsqueeze(scale, np.int64(1))
    a = ops.constant(np.concatenate([part.a for _, part in parts]))
    b = ops.constant(np.ascontiguousarray(np.concatenate([part.b for _, part in parts], axis=1)))
    low = ops.multiply(ops.matmul(x, a, transpose_a=False, transpose_b=True), scale)
    users = product.output(0).get_target_inputs()
    both = ops.add(product, ops.matmul(low, b, transpose_a=False, transpose_b=True))
    for user in users:
        user.replace_source_output(both.output(0))


def _by_layer(adapter: Adapter) -> dict[str, LowRank]:
    """The additions by module without what precedes the layers: it differs between checkpoint, adapter and graph."""
    return {_from_layer(module) or module: low_rank for module, low_rank in adapter.modules.items()}


def _from_layer(module: str) -> str | None:
    match = _FROM_LAYER.fullmatch(module)
    return match["path"] if match else None


def _products(model: ov.Model, family: str) -> Iterator[tuple[str, list[Any]]]:
    """The matrix products of layers by module: those whose inputs are `[tokens, width]` or `[tokens, 1, width]`."""
    found: dict[str, list[Any]] = {}
    for node in model.get_ordered_ops():
        if node.get_type_name() == "MatMul" and (module := _module_of(node, family)) and _has_token_rows(node):
            found.setdefault(module, []).append(node)
    fused = not any(module.endswith(_GGUF_MODULES["ffn_gate"]) for module in found)
    for module, nodes in found.items():
        is_gguf = not _EXPORTED.fullmatch(nodes[0].get_friendly_name())
        up = _GGUF_MODULES["ffn_up"]
        yield (module.replace(up, _FUSED_UP) if fused and is_gguf else module), nodes


def _module_of(product: Any, family: str) -> str | None:
    """The module of a product, by its own name or by those of its weights; None for one that is not a layer's."""
    if match := _EXPORTED.fullmatch(product.get_friendly_name()):
        return _from_layer(match["module"])
    node = product.input_value(1).get_node()
    while True:
        name = node.get_friendly_name()
        if match := _FROM_GGUF.fullmatch(name):
            return _from_gguf(match["layer"], match["tensor"], family)
        if match := _WEIGHT.fullmatch(name):
            return _from_layer(match["module"])
        if not node.get_input_size():
            return None
        node = node.input_value(0).get_node()


def _from_gguf(layer: str, tensor: str, family: str) -> str | None:
    if tensor not in _GGUF_MODULES or (tensor in ("attn_q", "attn_k", "attn_qkv") and family not in _SAME_ROWS):
        return None
    return f"layers.{layer}.{_GGUF_MODULES[tensor]}"


def _has_token_rows(product: Any) -> bool:
    shape = product.input_value(0).get_partial_shape()
    return len(shape) == 2 or (len(shape) == 3 and shape[1] == 1)


def _check(name: str, module: str, low_rank: LowRank, products: dict[str, list[Any]]) -> None:
    """Raise ModelError unless the base has the module, in the sizes of the adapter."""
    if module not in products:
        known = ", ".join(sorted({other.split(".", 2)[-1] for other in products})) or "none"
        raise ModelError(
            f"The adapter '{name}' changes '{module}', which cannot be changed in this base. In its layers these can:"
            f" {known}."
        )
    node = products[module][0]
    inputs = node.input_value(0).get_partial_shape()[-1]
    outputs = node.get_output_partial_shape(0)[-1]
    if (inputs, outputs) != (low_rank.a.shape[1], low_rank.b.shape[0]):
        raise ModelError(
            f"The adapter '{name}' belongs to another base: its '{module}' has {low_rank.a.shape[1]} inputs and"
            f" {low_rank.b.shape[0]} outputs, and that of this base {inputs} and {outputs}."
        )
