"""Write a GGUF file with random weights, for tests that need a real graph without a download.

The vocabulary is 256 single bytes and three control tokens, so any text can be encoded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter, LlamaFileType, RopeScalingType

from crossette.engine import ModelFiles
from support.byte_tokenizer import add_byte_tokenizer
from support.engine_calls import TINY_CONTEXT
from support.gguf_blocks import Floats, fitting, quantize

HEAD_SIZE = 64
LLAMA3_ROPE = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}
"""Llama 3's rope scaling, with an original context length shorter than a test's text."""
LINEAR_ROPE = {"factor": 4.0}
YARN_ROPE = {"factor": 4.0, "original_max_position_embeddings": 64}


@dataclass(frozen=True, kw_only=True)
class Weights:
    """The types of a file's matrices, and its optional parts."""

    kind: GGMLQuantizationType = GGMLQuantizationType.Q8_0
    others: Mapping[str, GGMLQuantizationType] = field(default_factory=dict)
    """Matrices of another type, by name, with or without the `blk.N.` of a layer. Rows too short for super-blocks get
    the fallback type."""
    sharpness: float = 2.0
    """Approximate standard deviation of the logits."""
    tied: bool = True
    """Whether the embedding table is also the LM head."""
    feed_forward: int | None = None
    """Columns of ffn_down; twice the width if not given."""
    rope: str | None = None
    """Rope scaling: None, "llama3", "linear" or "yarn"."""

    def kind_of(self, name: str) -> GGMLQuantizationType:
        return self.others.get(name) or self.others.get(name.split(".", 2)[-1]) or self.kind


@dataclass(frozen=True)
class Shape:
    """Heads and sizes, derived from the family and the width."""

    architecture: str
    width: int

    @property
    def heads(self) -> int:
        return self.width // 64

    @property
    def kv_heads(self) -> int:
        return self.heads // 2 if self.heads % 2 == 0 else self.heads

    @property
    def head_size(self) -> int:
        """In Qwen3 the heads together are wider than the model."""
        return 2 * HEAD_SIZE if self.architecture.startswith("qwen3") else HEAD_SIZE

    @property
    def experts(self) -> int:
        return 8 if self.architecture.endswith("moe") else 0


def write_tiny_gguf(
    path: Path,
    *,
    layers: int = 4,
    width: int = 256,
    context_length: int = 8192,
    seed: int = 0,
    tokenizer_from: Path | None = None,
    architecture: str = "llama",
    file_type: LlamaFileType = LlamaFileType.MOSTLY_Q8_0,
    weights: Weights = Weights(),
) -> Path:
    """Write the model and return its path; same arguments, same bytes. `width` is a multiple of 64.

    `tokenizer_from` copies the tokenizer of another GGUF file instead of the byte vocabulary.
    """
    writer = GGUFWriter(path, architecture)
    shape = Shape(architecture, width)
    _add_shape(writer, shape, layers, context_length, weights)
    writer.add_file_type(file_type)
    vocab_size = _copy_tokenizer(writer, tokenizer_from) if tokenizer_from else add_byte_tokenizer(writer)
    writer.add_vocab_size(vocab_size)
    _Tensors(writer, weights, seed).add_all(shape, layers, vocab_size)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def llama3_factors(head_size: int, base: float = 10_000.0) -> Floats:
    """Divisors of the frequency of each pair: the full factor for slow ones, 1 for fast ones, less in between."""
    frequencies = base ** (-np.arange(0, head_size, 2) / head_size)
    rotations = LLAMA3_ROPE["original_max_position_embeddings"] * frequencies / (2 * np.pi)
    low, high = LLAMA3_ROPE["low_freq_factor"], LLAMA3_ROPE["high_freq_factor"]
    smooth = np.clip((rotations - low) / (high - low), 0, 1)
    return (1 / ((1 - smooth) / LLAMA3_ROPE["factor"] + smooth)).astype(np.float32)


def _add_shape(writer: GGUFWriter, shape: Shape, layers: int, context_length: int, weights: Weights) -> None:
    writer.add_context_length(context_length)
    writer.add_block_count(layers)
    writer.add_embedding_length(shape.width)
    writer.add_feed_forward_length(weights.feed_forward or 2 * shape.width)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    if shape.head_size != HEAD_SIZE:
        writer.add_key_length(shape.head_size)
        writer.add_value_length(shape.head_size)
    writer.add_rope_dimension_count(shape.head_size)
    writer.add_rope_freq_base(10_000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    if shape.experts:
        writer.add_expert_count(shape.experts)
        writer.add_expert_used_count(3)
    if weights.rope == "linear":
        writer.add_rope_scaling_type(RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(LINEAR_ROPE["factor"])
    if weights.rope == "yarn":
        writer.add_rope_scaling_type(RopeScalingType.YARN)
        writer.add_rope_scaling_factor(YARN_ROPE["factor"])
        writer.add_rope_scaling_orig_ctx_len(int(YARN_ROPE["original_max_position_embeddings"]))
    if weights.rope == "llama3":
        writer.add_tensor("rope_freqs.weight", llama3_factors(shape.head_size))


class _Tensors:
    """Adds random tensors to a file."""

    def __init__(self, writer: GGUFWriter, weights: Weights, seed: int) -> None:
        self._writer = writer
        self._weights = weights
        self._rng = np.random.default_rng(seed)
        self._vector_rng = np.random.default_rng((seed, 1))

    def add_all(self, shape: Shape, layers: int, vocab_size: int) -> None:
        # Rows of norm about 1 spread logits by a few units: greedy tokens are not ties, and sampling is not uniform.
        self._matrix("token_embd.weight", vocab_size, shape.width, self._weights.sharpness)
        self._norm("output_norm.weight", shape.width)
        for layer in range(layers):
            self._add_layer(f"blk.{layer}.", shape)
        if not self._weights.tied:
            self._matrix("output.weight", vocab_size, shape.width, self._weights.sharpness)

    def _add_layer(self, block: str, shape: Shape) -> None:
        width, query, key = shape.width, shape.heads * shape.head_size, shape.kv_heads * shape.head_size
        feed_forward = self._weights.feed_forward or 2 * width
        self._norm(f"{block}attn_norm.weight", width)
        for name, rows in (("attn_q", query), ("attn_k", key), ("attn_v", key)):
            self._matrix(f"{block}{name}.weight", rows, width)
            if shape.architecture == "qwen2":
                self._vector(f"{block}{name}.bias", 0.0, 0.5, rows)
        if shape.architecture.startswith("qwen3"):
            self._norm(f"{block}attn_q_norm.weight", shape.head_size)
            self._norm(f"{block}attn_k_norm.weight", shape.head_size)
        self._matrix(f"{block}attn_output.weight", width, query)
        self._norm(f"{block}ffn_norm.weight", width)
        if shape.experts:
            scores = self._rng.standard_normal((shape.experts, width), dtype=np.float32) / width**0.5
            self._writer.add_tensor(f"{block}ffn_gate_inp.weight", 4 * scores)
        suffix = "_exps" if shape.experts else ""
        for name, rows, columns in (
            ("gate", feed_forward, width),
            ("up", feed_forward, width),
            ("down", width, feed_forward),
        ):
            self._matrix(f"{block}ffn_{name}{suffix}.weight", rows, columns, copies=shape.experts)

    def _matrix(self, name: str, rows: int, columns: int, scale: float = 1.0, copies: int = 0) -> None:
        """Add a matrix, or as many as there are `copies`."""
        weight = self._rng.standard_normal(((copies or 1) * rows, columns), dtype=np.float32)
        weight[0, :32] = -0.5  # a constant group, whose scale is 0 in types with minima
        weight *= scale / columns**0.5
        kind = fitting(self._weights.kind_of(name), columns)
        data = quantize(weight, kind)
        self._writer.add_tensor(name, data.reshape(copies, rows, -1) if copies else data, raw_dtype=kind)

    def _norm(self, name: str, size: int) -> None:
        self._vector(name, 1.0, 0.1, size)

    def _vector(self, name: str, mean: float, deviation: float, size: int) -> None:
        values = mean + deviation * self._vector_rng.standard_normal(size)
        self._writer.add_tensor(name, values.astype(np.float32))


def _copy_tokenizer(writer: GGUFWriter, source: Path) -> int:
    fields = GGUFReader(source).fields
    for name, value in fields.items():
        if name.startswith("tokenizer."):
            subtype = value.types[1] if len(value.types) > 1 else None
            writer.add_key_value(name, value.contents(), value.types[0], subtype)
    return len(fields["tokenizer.ggml.tokens"].data)


def tiny_files(folder: Path) -> ModelFiles:
    """The `ModelFiles` of a converted model of `write_tiny_gguf`."""
    return ModelFiles(
        path=folder,
        name="tiny",
        architecture="llama",
        quantization="Q8_0",
        context_length=TINY_CONTEXT,
        end_token_ids=frozenset({2}),
    )
