"""A llama of random weights in a GGUF file, for tests that need a real graph and no download.

The vocabulary is 256 single bytes and three control tokens, so any text can be encoded.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter, LlamaFileType, TokenType
from gguf.quants import quantize

SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
HEAD_SIZE = 64

Pack = Callable[[npt.NDArray[np.float32]], tuple[npt.NDArray[np.uint8], GGMLQuantizationType]]
"""A matrix `[rows, columns]` as bytes `[rows, bytes]` and what kind they are."""


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
    pack: Pack | None = None,
) -> Path:
    """Write the model and return its path; same arguments, same bytes. `width` is a multiple of 64.

    `tokenizer_from` copies the tokenizer of another GGUF file instead of the 259 own tokens. `pack` makes the bytes of
    a matrix where they are not to be Q8_0.
    """
    writer = GGUFWriter(path, architecture)
    _add_shape(writer, layers, width, context_length)
    writer.add_file_type(file_type)
    vocab_size = _copy_tokenizer(writer, tokenizer_from) if tokenizer_from else _add_byte_tokenizer(writer)
    writer.add_vocab_size(vocab_size)
    _add_weights(writer, layers, width, vocab_size, np.random.default_rng(seed), pack or _q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_shape(writer: GGUFWriter, layers: int, width: int, context_length: int) -> None:
    heads = width // HEAD_SIZE
    writer.add_context_length(context_length)
    writer.add_block_count(layers)
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(2 * width)
    writer.add_head_count(heads)
    writer.add_head_count_kv(_kv_heads(width))
    writer.add_rope_dimension_count(HEAD_SIZE)
    writer.add_rope_freq_base(10_000.0)
    writer.add_layer_norm_rms_eps(1e-5)


def _q8_0(weight: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.uint8], GGMLQuantizationType]:
    return quantize(weight, GGMLQuantizationType.Q8_0), GGMLQuantizationType.Q8_0


def _kv_heads(width: int) -> int:
    heads = width // HEAD_SIZE
    return heads // 2 if heads % 2 == 0 else heads


def _add_weights(
    writer: GGUFWriter, layers: int, width: int, vocab_size: int, rng: np.random.Generator, pack: Pack
) -> None:
    def add_matrix(name: str, rows: int, columns: int, scale: float = 1.0) -> None:
        weight = rng.standard_normal((rows, columns), dtype=np.float32) * (scale / columns**0.5)
        packed, kind = pack(weight)
        writer.add_tensor(name, packed, raw_dtype=kind)

    def add_norm(name: str) -> None:
        writer.add_tensor(name, np.ones(width, dtype=np.float32))

    kv_width = _kv_heads(width) * HEAD_SIZE
    # Rows of length about 1 make logits a few units wide: greedy choices are not ties, sampling not uniform.
    add_matrix("token_embd.weight", vocab_size, width, scale=2.0)
    add_norm("output_norm.weight")
    for layer in range(layers):
        block = f"blk.{layer}"
        add_norm(f"{block}.attn_norm.weight")
        add_matrix(f"{block}.attn_q.weight", width, width)
        add_matrix(f"{block}.attn_k.weight", kv_width, width)
        add_matrix(f"{block}.attn_v.weight", kv_width, width)
        add_matrix(f"{block}.attn_output.weight", width, width)
        add_norm(f"{block}.ffn_norm.weight")
        add_matrix(f"{block}.ffn_gate.weight", 2 * width, width)
        add_matrix(f"{block}.ffn_up.weight", 2 * width, width)
        add_matrix(f"{block}.ffn_down.weight", width, 2 * width)


def _add_byte_tokenizer(writer: GGUFWriter) -> int:
    tokens = [*SPECIALS, *_byte_symbols(), "he"]
    types = [TokenType.CONTROL] * len(SPECIALS) + [TokenType.NORMAL] * 257
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(["h e"])  # a BPE model without a single merge is not accepted
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(2)
    writer.add_add_bos_token(False)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(CHAT_TEMPLATE)
    return len(tokens)


def _byte_symbols() -> list[str]:
    """The printable stand-in of each byte, as byte-level BPE has them since GPT-2."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    stand_ins = iter(range(0x100, 0x200))
    return [chr(byte if byte in printable else next(stand_ins)) for byte in range(256)]


def _copy_tokenizer(writer: GGUFWriter, source: Path) -> int:
    fields = GGUFReader(source).fields
    for name, field in fields.items():
        if name.startswith("tokenizer."):
            subtype = field.types[1] if len(field.types) > 1 else None
            writer.add_key_value(name, field.contents(), field.types[0], subtype)
    return len(fields["tokenizer.ggml.tokens"].data)
