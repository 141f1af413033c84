"""A reference implementation of GGUF models in f32 with numpy, against which converted graphs are verified.

Shares no code with the conversion. Matrices are dequantised by the gguf package when they are used, a few million
weights at a time, so memory use does not grow with the file.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from gguf.constants import GGML_QUANT_SIZES
from gguf.quants import dequantize

from crossette.engines.openvino.gguf.head import GgufHead, GgufTensor
from crossette.errors import ModelError

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

_PIECE = 1 << 22
"""Weights dequantised at a time: 16 MB of f32."""

_ADJACENT = {"llama": True, "qwen2": False, "qwen3": False}
"""Whether rotary pairs are adjacent features of a head, or corresponding features of its two halves."""


def logits(path: Path, head: GgufHead, tokens: Sequence[int]) -> Floats:
    """Logits `[tokens, vocabulary]` of one text.

    Raises ModelError for an unsupported architecture or rope scaling, and for unused tensors.
    """
    shape = shape_of(path, head)
    tensors = Tensors(path, head)
    angles = _angles(path, head, tensors, shape, len(tokens))
    x = tensors.rows("token_embd.weight", np.asarray(tokens))
    for layer in range(shape.layers):
        x = _layer(x, tensors, f"blk.{layer}.", shape, angles)
    x = _rms_norm(x, tensors.vector("output_norm.weight"), shape.epsilon)
    result = tensors.product(x, "output" if "output.weight" in tensors else "token_embd")
    tensors.check_all_used()
    return result


class Tensors:
    """The tensors of a file, memory-mapped, and dequantised on access."""

    def __init__(self, path: Path, head: GgufHead) -> None:
        self._path = path
        self._bytes = np.memmap(path, np.uint8, mode="r")
        self._start = head.data_start
        self._tensors = {tensor.name: tensor for tensor in head.tensors}
        self._unused = set(self._tensors)

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def rows(self, name: str, indices: slice | npt.NDArray[np.int64]) -> Floats:
        """Some rows of a matrix, `[rows, columns]`."""
        tensor = self._tensor(name)
        block, block_bytes = GGML_QUANT_SIZES[tensor.type]
        columns = tensor.shape[0]
        start = self._start + tensor.offset
        packed = self._bytes[start : start + tensor.size].reshape(-1, columns // block * block_bytes)
        return np.asarray(dequantize(np.ascontiguousarray(packed[indices]), tensor.type), np.float32)

    def vector(self, name: str) -> Floats:
        """A tensor of one dimension."""
        return self.rows(name, slice(None)).reshape(-1)

    def product(self, x: Floats, name: str) -> Floats:
        """`x` times the transposed matrix, `[rows of x, rows of the matrix]`, plus its bias if it has one."""
        columns, rows = self._tensor(f"{name}.weight").shape
        result = np.empty((len(x), rows), np.float32)
        step = max(1, _PIECE // columns)
        for begin in range(0, rows, step):
            piece = slice(begin, begin + step)
            result[:, piece] = x @ self.rows(f"{name}.weight", piece).T
        if f"{name}.bias" in self:
            result += self.vector(f"{name}.bias")
        return result

    def check_all_used(self) -> None:
        """Raise ModelError for unused tensors: they would be parts of the model that were left out."""
        if self._unused:
            names = ", ".join(sorted(self._unused)[:5])
            raise ModelError(f"Can't compute {self._path}: it has unsupported tensors: {names}.")

    def _tensor(self, name: str) -> GgufTensor:
        if name not in self._tensors:
            raise ModelError(f"Can't compute {self._path}: it has no tensor '{name}'.")
        self._unused.discard(name)
        return self._tensors[name]


@dataclass(frozen=True, slots=True)
class Shape:
    layers: int
    heads: int
    kv_heads: int
    head_size: int
    rotated: int
    """Number of rotated features of each head: the first ones."""
    adjacent: bool
    """Whether rotary pairs are adjacent, or corresponding features of the two halves."""
    epsilon: float


@dataclass(frozen=True, slots=True)
class _Angles:
    """Cosine and sine of each position and pair of features, `[tokens, 1, pairs]`."""

    cos: Floats
    sin: Floats


def shape_of(path: Path, head: GgufHead) -> Shape:
    architecture = head.text("general.architecture")
    if architecture not in _ADJACENT:
        raise ModelError(f"Can't compute {path}: '{architecture}' is not one of {', '.join(_ADJACENT)}.")
    heads = _required(path, head, f"{architecture}.attention.head_count")
    head_size = head.number(f"{architecture}.attention.key_length")
    head_size = head_size or _required(path, head, f"{architecture}.embedding_length") // heads
    return Shape(
        layers=_required(path, head, f"{architecture}.block_count"),
        heads=heads,
        kv_heads=head.number(f"{architecture}.attention.head_count_kv") or heads,
        head_size=head_size,
        rotated=head.number(f"{architecture}.rope.dimension_count") or head_size,
        adjacent=_ADJACENT[architecture],
        epsilon=head.real(f"{architecture}.attention.layer_norm_rms_epsilon") or 1e-5,
    )


def _required(path: Path, head: GgufHead, key: str) -> int:
    if not (value := head.number(key)):
        raise ModelError(f"Can't compute {path}: its metadata has no {key}.")
    return value


def _angles(path: Path, head: GgufHead, tensors: Tensors, shape: Shape, num_tokens: int) -> _Angles:
    frequencies, magnitude = _frequencies(path, head, shape)
    if "rope_freqs.weight" in tensors:
        frequencies = frequencies / tensors.vector("rope_freqs.weight")
    angles = np.arange(num_tokens)[:, None, None] * frequencies
    return _Angles((np.cos(angles) * magnitude).astype(np.float32), (np.sin(angles) * magnitude).astype(np.float32))


def _frequencies(path: Path, head: GgufHead, shape: Shape) -> tuple[Doubles, float]:
    """The rotary frequency of each pair of features, and the magnitude of rotated features."""
    rope = f"{head.text('general.architecture')}.rope"
    base = head.real(f"{rope}.freq_base") or 10_000.0
    frequencies = base ** (-np.arange(0, shape.rotated, 2, dtype=np.float64) / shape.rotated)
    factor = head.real(f"{rope}.scaling.factor") or head.real(f"{rope}.scale_linear") or 1.0
    match scaling := head.text(f"{rope}.scaling.type"):
        case "none" | "llama3":  # its factors are a tensor
            return frequencies, 1.0
        case None | "linear":
            return frequencies / factor, 1.0
        case "yarn":
            trained = head.number(f"{rope}.scaling.original_context_length")
            trained = trained or _required(path, head, f"{head.text('general.architecture')}.context_length")
            return _yarn(frequencies, factor, trained, base), 1 + 0.1 * math.log(factor)
    raise ModelError(f"Can't compute {path}: its rope scaling '{scaling}' is not supported.")


def _yarn(frequencies: Doubles, factor: float, trained: int, base: float) -> Doubles:
    """YaRN: pairs with 32 or more rotations in the trained length keep their frequency; at one or fewer it is scaled.

    Between these two pairs, rounded outwards to integers, the scaled share grows linearly.
    """
    num_pairs = len(frequencies)

    def pair_with(rotations: float) -> float:
        return num_pairs * math.log(trained / (rotations * 2 * math.pi)) / math.log(base)

    first = max(math.floor(pair_with(32)), 0)
    last = min(math.ceil(pair_with(1)), 2 * num_pairs - 1)
    scaled = np.clip((np.arange(num_pairs) - first) / max(last - first, 0.001), 0, 1)
    mixed: Doubles = frequencies * (1 - scaled + scaled / factor)
    return mixed


def _layer(x: Floats, tensors: Tensors, block: str, shape: Shape, angles: _Angles) -> Floats:
    normed = _rms_norm(x, tensors.vector(f"{block}attn_norm.weight"), shape.epsilon)
    x = x + tensors.product(_attention(normed, tensors, block, shape, angles), f"{block}attn_output")
    normed = _rms_norm(x, tensors.vector(f"{block}ffn_norm.weight"), shape.epsilon)
    gate = tensors.product(normed, f"{block}ffn_gate")
    silu = gate * (1 + np.tanh(gate / 2)) / 2  # the same as gate / (1 + exp(-gate)), without its overflow
    return x + tensors.product(silu * tensors.product(normed, f"{block}ffn_up"), f"{block}ffn_down")


def _attention(x: Floats, tensors: Tensors, block: str, shape: Shape, angles: _Angles) -> Floats:
    """Causal grouped-query attention, `[tokens, heads * head size]`."""
    num_tokens = len(x)
    query = tensors.product(x, f"{block}attn_q").reshape(num_tokens, shape.heads, -1)
    key = tensors.product(x, f"{block}attn_k").reshape(num_tokens, shape.kv_heads, -1)
    value = tensors.product(x, f"{block}attn_v").reshape(num_tokens, shape.kv_heads, -1)
    if f"{block}attn_q_norm.weight" in tensors:
        query = _rms_norm(query, tensors.vector(f"{block}attn_q_norm.weight"), shape.epsilon)
        key = _rms_norm(key, tensors.vector(f"{block}attn_k_norm.weight"), shape.epsilon)
    query, key = _rotated(query, shape, angles), _rotated(key, shape, angles)
    grouped = query.reshape(num_tokens, shape.kv_heads, shape.heads // shape.kv_heads, -1).transpose(1, 2, 0, 3)
    scores = grouped @ key.transpose(1, 2, 0)[:, None] / np.sqrt(np.float32(query.shape[-1]))
    scores += np.triu(np.full((num_tokens, num_tokens), -np.inf, np.float32), 1)
    mixed = _softmax(scores) @ value.transpose(1, 0, 2)[:, None]
    return mixed.transpose(2, 0, 1, 3).reshape(num_tokens, -1)


def _rotated(x: Floats, shape: Shape, angles: _Angles) -> Floats:
    """Rotate pairs of features of `[tokens, heads, features]` by position."""
    rotated, rest = x[..., : shape.rotated], x[..., shape.rotated :]
    half = shape.rotated // 2
    firsts = slice(0, None, 2) if shape.adjacent else slice(0, half)
    seconds = slice(1, None, 2) if shape.adjacent else slice(half, None)
    a, b = rotated[..., firsts], rotated[..., seconds]
    result = np.empty_like(rotated)
    result[..., firsts] = a * angles.cos - b * angles.sin
    result[..., seconds] = a * angles.sin + b * angles.cos
    return np.concatenate((result, rest), -1)


def _rms_norm(x: Floats, weight: Floats, epsilon: float) -> Floats:
    mean_square = np.mean(x * x, -1, keepdims=True, dtype=np.float32)
    return np.asarray(x / np.sqrt(mean_square + np.float32(epsilon)) * weight, np.float32)


def _softmax(x: Floats) -> Floats:
    powers = np.exp(x - x.max(-1, keepdims=True))
    return np.asarray(powers / powers.sum(-1, keepdims=True), np.float32)
