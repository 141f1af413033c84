"""A reference implementation of GGUF models in f32 with numpy, against which converted graphs are verified.

Shares no code with the conversion.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from crossette.engines.openvino.gguf.head import GgufHead
from crossette.engines.openvino.gguf.reference_rotary import Angles, angles
from crossette.engines.openvino.gguf.reference_shape import Shape as Shape
from crossette.engines.openvino.gguf.reference_shape import required
from crossette.engines.openvino.gguf.reference_shape import shape_of as shape_of
from crossette.engines.openvino.gguf.reference_tensors import Floats
from crossette.engines.openvino.gguf.reference_tensors import Tensors as Tensors


@dataclass(frozen=True, slots=True)
class _Model:
    tensors: Tensors
    shape: Shape
    full: Angles
    """Of layers that see all tokens."""
    sliding: Angles
    """Of layers with a window."""
    warmth: Floats
    """A factor of the queries of each position, `[tokens, 1, 1]`."""


def logits(path: Path, head: GgufHead, tokens: Sequence[int], *, window: int | None = None) -> Floats:
    """Logits `[tokens, vocabulary]` of one text.

    `window` is the most tokens of a sequence, where that matters (longrope): the text's length if it is not given.
    Raises ModelError for an unsupported architecture or rope scaling, and for unused tensors.
    """
    model = _read(path, head, len(tokens), window or len(tokens))
    tensors, shape = model.tensors, model.shape
    x = tensors.rows("token_embd.weight", np.asarray(tokens)) * np.float32(shape.embedding_scale)
    for layer in range(shape.layers):
        x = _layer(x, model, layer)
    x = _norm(x, model, "output_norm")
    result = tensors.product(x, "output" if "output.weight" in tensors else "token_embd")
    tensors.check_all_used()
    result /= np.float32(shape.logit_divisor)
    return np.tanh(result / shape.logit_cap) * np.float32(shape.logit_cap) if shape.logit_cap else result


def _read(path: Path, head: GgufHead, num_tokens: int, window: int) -> _Model:
    shape, tensors = shape_of(path, head), Tensors(path, head)
    full, sliding = (
        angles(path, head, tensors, shape, num_tokens, in_windows=kind, window=window) for kind in (False, True)
    )
    return _Model(tensors, shape, full, sliding, _warmth(path, head, num_tokens))


def _warmth(path: Path, head: GgufHead, num_tokens: int) -> Floats:
    name = head.text("general.architecture")
    beta = head.real(f"{name}.attention.temperature_scale")
    if not beta:
        return np.ones((num_tokens, 1, 1), np.float32)
    length = head.number(f"{name}.rope.scaling.original_context_length")
    length = length or required(path, head, f"{name}.context_length")
    warmth = 1 + beta * np.log1p(np.arange(num_tokens) // length)
    return np.asarray(warmth[:, None, None], np.float32)


def _layer(x: Floats, model: _Model, layer: int) -> Floats:
    block, traits = f"blk.{layer}.", model.shape.traits
    before, after = traits.order != "after", traits.order != "before"
    scale = np.float32(model.shape.residual_scale)
    y = _norm(x, model, f"{block}attn_norm") if before else x
    y = model.tensors.product(_attention(y, model, layer), f"{block}attn_output")
    x = x + scale * (_norm(y, model, f"{block}post_attention_norm") if after else y)
    y = _norm(x, model, f"{block}{traits.second_norm}") if before else x
    y = _experts(y, model, block) if model.shape.experts else _mlp(y, model, block)
    return np.asarray(x + scale * (_norm(y, model, f"{block}post_ffw_norm") if after else y), np.float32)


def _mlp(x: Floats, model: _Model, block: str, kind: str = "", expert: int | None = None) -> Floats:
    """A feed-forward part; gated by a matrix of its own, by the first half of the other one, or not."""
    tensors = model.tensors
    up = tensors.product(x, f"{block}ffn_up{kind}", expert)
    if f"{block}ffn_gate{kind}.weight" in tensors:
        gate = tensors.product(x, f"{block}ffn_gate{kind}", expert)
    elif up.shape[1] == 2 * tensors.shape(f"{block}ffn_down{kind}.weight")[0]:
        gate, up = np.split(up, 2, axis=1)
    else:
        gate, up = up, np.ones_like(up)
    if model.shape.traits.oai:
        gate, up = np.minimum(gate, 7), np.clip(up, -7, 7) + 1
        hidden = gate * _sigmoid(np.float32(1.702) * gate) * up
    else:
        hidden = (_gelu(gate) if model.shape.traits.gelu else gate * _sigmoid(gate)) * up
    return tensors.product(hidden, f"{block}ffn_down{kind}", expert)


def _experts(x: Floats, model: _Model, block: str) -> Floats:
    """Each token's sum over its experts, one expert after the other, plus the shared expert."""
    tensors = model.tensors
    scores = tensors.product(x, f"{block}ffn_gate_inp")
    chosen = np.argsort(-scores, axis=1, kind="stable")[:, : model.shape.experts_used]
    if model.shape.traits.softmax_first:
        shares = np.take_along_axis(_softmax(scores), chosen, 1)
    else:
        shares = _softmax(np.take_along_axis(scores, chosen, 1))
    result = np.zeros_like(x)
    for expert in range(model.shape.experts):
        at, place = np.nonzero(chosen == expert)
        if len(at):
            result[at] += shares[at, place][:, None] * _mlp(x[at], model, block, "_exps", expert)
    if f"{block}ffn_up_shexp.weight" in tensors:
        every = _mlp(x, model, block, "_shexp")
        if f"{block}ffn_gate_inp_shexp.weight" in tensors:
            every = every * _sigmoid(x @ tensors.vector(f"{block}ffn_gate_inp_shexp.weight"))[:, None]
        result += every
    return result


def _attention(x: Floats, model: _Model, layer: int) -> Floats:
    """Causal grouped-query attention, `[tokens, heads * head size]`."""
    shape, block, num_tokens = model.shape, f"blk.{layer}.", len(x)
    query, key, value = _projections(x, model, block)
    every = shape.traits.every_unrotated
    if not every or layer % every != every - 1:
        turn = model.sliding if shape.windows[layer] else model.full
        query, key = _rotated(query, shape, turn), _rotated(key, shape, turn)
    query = query * model.warmth
    grouped = query.reshape(num_tokens, shape.kv_heads, shape.heads // shape.kv_heads, -1).transpose(1, 2, 0, 3)
    scores = grouped @ key.transpose(1, 2, 0)[:, None] * np.float32(shape.score_scale)
    distance = np.arange(num_tokens)[:, None] - np.arange(num_tokens)
    seen = (distance >= 0) & (distance < (shape.windows[layer] or num_tokens))
    scores = np.where(seen, scores, np.float32(-np.inf))
    if f"{block}attn_sinks.weight" in model.tensors:  # a last column of scores, of a key whose value is 0
        sinks = model.tensors.vector(f"{block}attn_sinks.weight").reshape(shape.kv_heads, -1, 1, 1)
        columns = np.broadcast_to(sinks, (*scores.shape[:3], 1))
        weights = _softmax(np.concatenate((scores, columns), -1))[..., :-1]
    else:
        weights = _softmax(scores)
    mixed = weights @ value.transpose(1, 0, 2)[:, None]
    return mixed.transpose(2, 0, 1, 3).reshape(num_tokens, -1)


def _projections(x: Floats, model: _Model, block: str) -> tuple[Floats, Floats, Floats]:
    """Queries, keys and values, `[tokens, heads, head size]`."""
    shape, tensors = model.shape, model.tensors
    if f"{block}attn_qkv.weight" in tensors:
        ends = np.cumsum([shape.heads, shape.kv_heads]) * shape.head_size
        flat = np.split(tensors.product(x, f"{block}attn_qkv"), ends, axis=1)
    else:
        flat = [tensors.product(x, f"{block}attn_{part}") for part in "qkv"]
    for index, part in enumerate("qk"):
        if f"{block}attn_{part}_norm.weight" in tensors:
            size = tensors.shape(f"{block}attn_{part}_norm.weight")[0]  # of a head, or of all
            normed = _norm(flat[index].reshape(len(x), -1, size), model, f"{block}attn_{part}_norm")
            flat[index] = normed.reshape(len(x), -1)
    query, key, value = (part.reshape(len(x), -1, shape.head_size) for part in flat)
    return query, key, value


def _rotated(x: Floats, shape: Shape, turn: Angles) -> Floats:
    """Rotate pairs of features of `[tokens, heads, features]` by position."""
    rotated, rest = x[..., : shape.rotated], x[..., shape.rotated :]
    half = shape.rotated // 2
    firsts = slice(0, None, 2) if shape.adjacent else slice(0, half)
    seconds = slice(1, None, 2) if shape.adjacent else slice(half, None)
    a, b = rotated[..., firsts], rotated[..., seconds]
    result = np.empty_like(rotated)
    result[..., firsts] = a * turn.cos - b * turn.sin
    result[..., seconds] = a * turn.sin + b * turn.cos
    return np.concatenate((result, rest), -1)


def _norm(x: Floats, model: _Model, name: str) -> Floats:
    """An RMS norm, or a layer norm, of the last axis."""
    if model.shape.traits.centred:
        x = x - x.mean(-1, keepdims=True)
    mean_square = np.mean(x * x, -1, keepdims=True, dtype=np.float32)
    normed = x / np.sqrt(mean_square + np.float32(model.shape.epsilon)) * model.tensors.vector(f"{name}.weight")
    bias = f"{name}.bias"
    return np.asarray(normed + model.tensors.vector(bias) if bias in model.tensors else normed, np.float32)


def _sigmoid(x: Floats) -> Floats:
    """1 / (1 + exp(-x)), without its overflow."""
    return np.asarray((1 + np.tanh(x / 2)) / 2, np.float32)


def _gelu(x: Floats) -> Floats:
    """In its tanh form."""
    inner = np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)
    return np.asarray(x * (1 + np.tanh(inner)) / 2, np.float32)


def _softmax(x: Floats) -> Floats:
    powers = np.exp(x - x.max(-1, keepdims=True))
    return np.asarray(powers / powers.sum(-1, keepdims=True), np.float32)
