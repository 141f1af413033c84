"""GGUF files with the shapes of published models and random weights, for measurements of speed and memory.

Matrices are Q4_0 unless another type is asked for, and the head, or the table that stands for it, is Q6_K (or Q8_0
where rows are not whole blocks), as in the files that llama.cpp makes. The tokenizer is the default model's, filled up
with unused tokens. Written piece by piece: a file of any size takes little memory.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter, LlamaFileType, TokenType
from gguf.constants import GGML_QUANT_SIZES
from q8_0 import default_gguf

from crossette.folders import cache_folder

Bytes = npt.NDArray[np.uint8]

_PIECE = 1 << 25
"""Weights written at a time."""


@dataclass(frozen=True)
class Shape:
    """The sizes of a model."""

    name: str
    architecture: str
    layers: int
    width: int
    feed_forward: int
    heads: int
    kv_heads: int
    head_size: int
    vocab_size: int
    tied: bool = True
    """Whether the embedding table is also the head."""
    context_length: int = 131_072
    experts: int = 0
    experts_used: int = 0
    matrices: str = "Q4_0"
    """The type of the file: Q4_0, Q4_1, Q8_0, or Q4_K_M: Q4_K, but Q6_K for values and down in half of the layers."""

    def cut(self, layers: int) -> Shape:
        """The same model with fewer layers."""
        return replace(self, name=f"{self.name}-{layers}-layers", layers=layers)

    def tensors(self) -> Iterator[tuple[str, tuple[int, ...], GGMLQuantizationType]]:
        """Names, rows first, and types."""
        q6_k, f32 = GGMLQuantizationType.Q6_K, GGMLQuantizationType.F32
        most = GGMLQuantizationType[self.matrices.removesuffix("_M")]
        head = GGMLQuantizationType.Q8_0 if self.width % 256 else q6_k
        query, key = self.heads * self.head_size, self.kv_heads * self.head_size
        yield "token_embd.weight", (self.vocab_size, self.width), head if self.tied else most
        yield "output_norm.weight", (self.width,), f32
        if not self.tied:
            yield "output.weight", (self.vocab_size, self.width), head
        for layer in range(self.layers):
            block = f"blk.{layer}."
            some = q6_k if self.matrices.endswith("_M") and layer % 2 == 0 else most
            yield f"{block}attn_norm.weight", (self.width,), f32
            yield f"{block}ffn_norm.weight", (self.width,), f32
            for name, rows, kind in (("attn_q", query, most), ("attn_k", key, most), ("attn_v", key, some)):
                yield f"{block}{name}.weight", (rows, self.width), kind
            yield f"{block}attn_output.weight", (self.width, query), most
            if self.architecture.startswith("qwen3"):
                yield f"{block}attn_q_norm.weight", (self.head_size,), f32
                yield f"{block}attn_k_norm.weight", (self.head_size,), f32
            each, suffix = ((self.experts,), "_exps") if self.experts else ((), "")
            if self.experts:
                yield f"{block}ffn_gate_inp.weight", (self.experts, self.width), f32
            for name in ("gate", "up"):
                yield f"{block}ffn_{name}{suffix}.weight", (*each, self.feed_forward, self.width), most
            yield f"{block}ffn_down{suffix}.weight", (*each, self.width, self.feed_forward), some

    @property
    def num_weights(self) -> int:
        return sum(int(np.prod(shape)) for _, shape, _ in self.tensors())


SHAPES = (
    Shape("SmolLM2-360M", "llama", 32, 960, 2560, 15, 5, 64, 49_152, context_length=8192),
    Shape("Qwen3-0.6B", "qwen3", 28, 1024, 3072, 16, 8, 128, 151_936, context_length=40_960),
    Shape("Llama-3.2-1B", "llama", 16, 2048, 8192, 32, 8, 64, 128_256),
    Shape("Qwen3-1.7B", "qwen3", 28, 2048, 6144, 16, 8, 128, 151_936, context_length=40_960),
    Shape("Llama-3.2-3B", "llama", 28, 3072, 8192, 24, 8, 128, 128_256),
    Shape("Qwen3-4B", "qwen3", 36, 2560, 9728, 32, 8, 128, 151_936, context_length=40_960),
    Shape("Llama-3.1-8B", "llama", 32, 4096, 14_336, 32, 8, 128, 128_256, tied=False),
)
"""The sizes that their configurations publish."""

MIXTURE = Shape(
    *("Qwen3-30B-A3B", "qwen3moe", 48, 2048, 768, 32, 4, 128, 151_936),
    tied=False,
    context_length=40_960,
    experts=128,
    experts_used=8,
)


def random_gguf(shape: Shape) -> Path:
    """The file, which is written on the first call, into the cache folder."""
    file = cache_folder() / "benchmarks" / f"random-{shape.name.lower()}-{shape.matrices.lower()}.gguf"
    if not file.is_file():
        print(f"writing {file.name}", file=sys.stderr)
        temporary = file.with_suffix(".unfinished")
        _write(shape, temporary)
        temporary.replace(file)
    return file


def _write(shape: Shape, path: Path) -> None:
    writer = GGUFWriter(path, shape.architecture)
    _add_shape(writer, shape)
    _add_tokenizer(writer, shape.vocab_size)
    tensors = list(shape.tensors())
    for name, rows, kind in tensors:
        if kind == GGMLQuantizationType.F32:
            writer.add_tensor_info(name, rows, np.dtype(np.float32), 4 * int(np.prod(rows)))
        else:
            stored = (*rows[:-1], _row_bytes(rows[-1], kind))
            writer.add_tensor_info(name, stored, np.dtype(np.uint8), int(np.prod(stored)), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    rng = np.random.default_rng(0)
    assert writer.fout is not None
    for name, rows, kind in tensors:
        writer.write_padding(writer.fout[0], writer.fout[0].tell())
        for piece in _pieces(name, rows, kind, rng):
            piece.tofile(writer.fout[0])
        writer.write_padding(writer.fout[0], writer.fout[0].tell())
    writer.close()


def _add_shape(writer: GGUFWriter, shape: Shape) -> None:
    writer.add_file_type(LlamaFileType[f"MOSTLY_{shape.matrices}"])
    writer.add_context_length(shape.context_length)
    writer.add_block_count(shape.layers)
    writer.add_embedding_length(shape.width)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_key_length(shape.head_size)
    writer.add_value_length(shape.head_size)
    writer.add_rope_dimension_count(shape.head_size)
    writer.add_rope_freq_base(1_000_000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(shape.vocab_size)
    if shape.experts:
        writer.add_expert_count(shape.experts)
        writer.add_expert_used_count(shape.experts_used)
        writer.add_expert_feed_forward_length(shape.feed_forward)


def _add_tokenizer(writer: GGUFWriter, vocab_size: int) -> None:
    for name, field in GGUFReader(default_gguf()).fields.items():
        if not name.startswith("tokenizer."):
            continue
        value = field.contents()
        subtype = field.types[1] if len(field.types) > 1 else None
        if name == "tokenizer.ggml.tokens":
            value = [*value, *(f"<unused_{index}>" for index in range(len(value), vocab_size))]
        if name == "tokenizer.ggml.token_type":
            value = [*value, *(int(TokenType.UNUSED) for _ in range(len(value), vocab_size))]
        writer.add_key_value(name, value, field.types[0], subtype)


def _row_bytes(columns: int, kind: GGMLQuantizationType) -> int:
    block, size = GGML_QUANT_SIZES[kind]
    return columns // block * size


def _pieces(
    name: str, rows: tuple[int, ...], kind: GGMLQuantizationType, rng: np.random.Generator
) -> Iterator[npt.NDArray[np.float32] | Bytes]:
    """A tensor of random weights, of about the size that keeps activations what they are."""
    columns = rows[-1]
    if kind == GGMLQuantizationType.F32:
        yield (rng.standard_normal(rows) / columns**0.5 if len(rows) > 1 else np.ones(rows)).astype(np.float32)
        return
    num_rows, step = int(np.prod(rows[:-1])), max(1, _PIECE // columns)
    block, size = GGML_QUANT_SIZES[kind]
    for start in range(0, num_rows, step):
        num_blocks = min(step, num_rows - start) * columns // block
        blocks = np.frombuffer(rng.bytes(num_blocks * size), np.uint8).reshape(num_blocks, size).copy()
        yield _scaled(blocks, kind, columns)


def _scaled(blocks: Bytes, kind: GGMLQuantizationType, columns: int) -> Bytes:
    """Random blocks with one scale, so that rows have norm 1."""
    if kind == GGMLQuantizationType.Q4_0:  # a scale, then 32 integers from -8 to 7
        blocks[:, :2] = np.array([columns**-0.5 / 4.6], np.float16).view(np.uint8)
    elif kind == GGMLQuantizationType.Q4_1:  # a scale, a minimum, then 32 integers from 0 to 15
        scale = columns**-0.5 / 4.6
        blocks[:, :4] = np.array([scale, -7.5 * scale], np.float16).view(np.uint8)
    elif kind == GGMLQuantizationType.Q4_K:  # scales of scales and of minima, eight of each, 256 integers from 0 to 15
        scale = columns**-0.5 / 4.6 / 32
        blocks[:, :4] = np.array([scale, 7.5 * scale], np.float16).view(np.uint8)
        blocks[:, 4:12], blocks[:, 12:16] = 0xA0, 0  # all of them are 32, in 6 bits each
    elif kind == GGMLQuantizationType.Q8_0:  # a scale, then 32 integers of 8 bits
        blocks[:, :2] = np.array([columns**-0.5 / 74], np.float16).view(np.uint8)
    else:  # Q6_K: 256 integers from -32 to 31, 16 scales of 8 bits, a scale
        blocks[:, 192:208] = 16
        blocks[:, 208:] = np.array([columns**-0.5 / 18.5 / 16], np.float16).view(np.uint8)
    return blocks
