"""Build the graph of a GGUF file: from tokens to logits, with stateful keys and values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from crossette.engines.openvino.gguf.attention import Attention, causal_mask
from crossette.engines.openvino.gguf.families import FAMILIES
from crossette.engines.openvino.gguf.head import GgufHead
from crossette.engines.openvino.gguf.parts import gated_mlp, product, rms_norm
from crossette.engines.openvino.gguf.rotary import FACTORS, Rotary, read_rotary
from crossette.engines.openvino.gguf.shape import Shape, read_shape
from crossette.engines.openvino.gguf.weights import PLAIN, Weights
from crossette.errors import ModelError


def write_graph(path: Path, head: GgufHead, folder: Path) -> None:
    """Write openvino_model.xml and .bin of a GGUF file into `folder`.

    Raises ModelError with a reason as the end of a sentence, as do the functions that it calls.
    """
    shape = read_shape(head)
    with Weights(path, head, folder) as weights:
        factors = weights.vector(FACTORS) if FACTORS in weights else None
        rotary = read_rotary(head, shape.architecture, shape.head_size, factors)
        try:
            model = _model(weights, shape, rotary)
            weights.check_all_used()
            if all(tensor.type in PLAIN for tensor in head.tensors):
                model.set_rt_info("f16", ["runtime_options", "KV_CACHE_PRECISION"])
            ov.save_model(model, folder / "openvino_model.xml", compress_to_fp16=False)
        except RuntimeError as error:  # matrices of incompatible shapes, a full disk
            raise ModelError(f"OpenVINO cannot build its graph: {_last_line(error)}") from error
        del model  # before the constants, whose memory it shares


def _model(weights: Weights, shape: Shape, rotary: Rotary) -> ov.Model:
    tokens, mask = _input("input_ids", 2, np.int64), _input("attention_mask", 2, np.int64)
    positions, beams = _input("position_ids", 2, np.int64), _input("beam_idx", 1, np.int32)
    cos, sin = rotary.cos_sin(positions)
    batch = ops.gather(ops.shape_of(tokens), np.array([0]), np.int64(0))
    family = FAMILIES[shape.architecture]
    attention = Attention(shape, family, rotary, cos, sin, causal_mask(tokens, mask), batch, beams)
    logits = _transformer(tokens, weights, shape, attention)
    result = ops.result(logits)
    result.get_output_tensor(0).set_names({"logits"})
    return ov.Model([result], attention.sinks, [tokens, mask, positions, beams], shape.architecture)


def _transformer(tokens: ov.Node, weights: Weights, shape: Shape, attention: Attention) -> ov.Node:
    table = weights.table("token_embd.weight")
    x = ops.gather(table, ops.convert(tokens, np.int32), np.int32(0))
    for layer in range(shape.layers):
        block = f"blk.{layer}"
        h = rms_norm(x, weights.vector(f"{block}.attn_norm.weight"), shape.epsilon)
        x = ops.add(x, attention.of(h, weights, layer))
        h = rms_norm(x, weights.vector(f"{block}.ffn_norm.weight"), shape.epsilon)
        x = ops.add(x, gated_mlp(h, weights, block))
    x = rms_norm(x, weights.vector("output_norm.weight"), shape.epsilon)
    return product(x, weights.matrix("output.weight") if "output.weight" in weights else table)


def _last_line(error: RuntimeError) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def _input(name: str, rank: int, kind: type[np.int64] | type[np.int32]) -> ov.Node:
    node = ops.parameter([-1] * rank, kind, name=name)
    node.get_output_tensor(0).set_names({name})
    return node
