"""Build the graph of a GGUF file: from tokens to logits, with stateful keys and values."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from crossette.engines.openvino.gguf.attention import Attention, Turn
from crossette.engines.openvino.gguf.experts import mixture
from crossette.engines.openvino.gguf.families import FAMILIES, Family
from crossette.engines.openvino.gguf.head import GgufHead
from crossette.engines.openvino.gguf.layers import Layer, read_layers
from crossette.engines.openvino.gguf.masks import causal_mask, sliding_mask
from crossette.engines.openvino.gguf.parts import layer_norm, mlp, product, rms_norm
from crossette.engines.openvino.gguf.rotary import Rotary, read_factors, read_rotary, read_sliding_rotary
from crossette.engines.openvino.gguf.shape import Scales, Shape, read_scales, read_shape
from crossette.engines.openvino.gguf.weights import PLAIN, Weights
from crossette.errors import ModelError


@dataclass(frozen=True, slots=True)
class _Plan:
    """What the metadata say about a graph."""

    shape: Shape
    family: Family
    scales: Scales
    layers: tuple[Layer, ...]
    rotary: Rotary
    sliding_rotary: Rotary


def write_graph(path: Path, head: GgufHead, folder: Path) -> None:
    """Write openvino_model.xml and .bin of a GGUF file into `folder`.

    Raises ModelError with a reason as the end of a sentence, as do the functions that it calls.
    """
    with Weights(path, head, folder) as weights:
        plan = _plan(head, weights)
        try:
            model = _model(weights, plan)
            weights.check_all_used()
            if all(tensor.type in PLAIN for tensor in head.tensors):
                model.set_rt_info("f16", ["runtime_options", "KV_CACHE_PRECISION"])
            ov.save_model(model, folder / "openvino_model.xml", compress_to_fp16=False)
        except RuntimeError as error:  # matrices of incompatible shapes, a full disk
            raise ModelError(f"OpenVINO cannot build its graph: {_last_line(error)}") from error
        del model  # before the constants, whose memory it shares


def _plan(head: GgufHead, weights: Weights) -> _Plan:
    shape = read_shape(head)
    family = FAMILIES[shape.architecture]
    rotary = read_rotary(head, family, shape, read_factors(weights))
    return _Plan(
        shape,
        family,
        read_scales(head, shape.architecture),
        read_layers(head, shape.architecture, family, shape.layers),
        rotary,
        read_sliding_rotary(head, family, shape, rotary),
    )


def _model(weights: Weights, plan: _Plan) -> ov.Model:
    tokens, mask = _input("input_ids", 2, np.int64), _input("attention_mask", 2, np.int64)
    positions, beams = _input("position_ids", 2, np.int64), _input("beam_idx", 1, np.int32)
    windows = {layer.window for layer in plan.layers}
    masks = {size: sliding_mask(tokens, mask, size) if size else causal_mask(tokens, mask) for size in windows}
    attention = Attention(
        plan.shape,
        plan.family,
        plan.scales,
        {
            True: Turn(plan.sliding_rotary, *plan.sliding_rotary.cos_sin(positions)),
            False: Turn(plan.rotary, *plan.rotary.cos_sin(positions)),
        },
        masks,
        positions,
        ops.gather(ops.shape_of(tokens), np.array([0]), np.int64(0)),
        beams,
    )
    result = ops.result(_transformer(tokens, weights, plan, attention))
    result.get_output_tensor(0).set_names({"logits"})
    return ov.Model([result], attention.assignments, [tokens, mask, positions, beams], plan.shape.architecture)


def _transformer(tokens: ov.Node, weights: Weights, plan: _Plan, attention: Attention) -> ov.Node:
    table = weights.table("token_embd.weight")
    x = ops.gather(table, ops.convert(tokens, np.int32), np.int32(0))
    x = _scaled(x, plan.shape.width**0.5 if plan.family.scaled_embeddings else plan.scales.embeddings)
    for index, layer in enumerate(plan.layers):
        block = f"blk.{index}"
        h = attention.of(_before(x, weights, plan, f"{block}.attn_norm"), weights, index, layer)
        x = _added(x, h, weights, plan, f"{block}.post_attention_norm")
        h = _feed_forward(_before(x, weights, plan, f"{block}.{plan.family.ffn_norm}"), weights, plan, block)
        x = _added(x, h, weights, plan, f"{block}.post_ffw_norm")
    x = _normed(x, weights, plan, "output_norm")
    logits = product(x, weights.matrix("output.weight") if "output.weight" in weights else table)
    return _capped(logits, plan.scales)


def _before(x: ov.Node, weights: Weights, plan: _Plan, norm: str) -> ov.Node:
    """The residual stream `x` as attention or MLP get it."""
    return _normed(x, weights, plan, norm) if plan.family.pre_norms else x


def _added(x: ov.Node, h: ov.Node, weights: Weights, plan: _Plan, norm: str) -> ov.Node:
    """The residual stream `x` plus the result `h` of attention or MLP."""
    if plan.family.post_norms:
        h = _normed(h, weights, plan, norm)
    return ops.add(x, _scaled(h, plan.scales.residual))


def _normed(x: ov.Node, weights: Weights, plan: _Plan, name: str) -> ov.Node:
    weight = weights.vector(f"{name}.weight")
    if plan.family.layer_norms:
        return layer_norm(x, weight, weights.vector(f"{name}.bias"), plan.shape.epsilon)
    return rms_norm(x, weight, plan.shape.epsilon)


def _feed_forward(x: ov.Node, weights: Weights, plan: _Plan, block: str) -> ov.Node:
    if f"{block}.ffn_gate_inp.weight" in weights:
        return mixture(x, weights, block, plan.family, plan.shape.experts_used)
    return mlp(x, weights, block, gelu=plan.family.gelu)


def _capped(logits: ov.Node, scales: Scales) -> ov.Node:
    if scales.logits is not None:
        logits = ops.divide(logits, np.float32(scales.logits))
    if scales.logits_cap is None:
        return logits
    cap = np.float32(scales.logits_cap)
    return ops.multiply(ops.tanh(ops.divide(logits, cap)), cap)


def _scaled(x: ov.Node, scale: float | None) -> ov.Node:
    return x if scale is None else ops.multiply(x, np.float32(scale))


def _last_line(error: RuntimeError) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def _input(name: str, rank: int, kind: type[np.int64] | type[np.int32]) -> ov.Node:
    node = ops.parameter([-1] * rank, kind, name=name)
    node.get_output_tensor(0).set_names({name})
    return node
