"""The default model's weights, dequantised, as a checkpoint of Hugging Face: for engines that read no GGUF files."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import gguf
import numpy as np
import numpy.typing as npt
from gguf.quants import dequantize
from q8_0 import default_gguf

from crossette.folders import cache_folder
from crossette.models.catalogue import DEFAULT
from support.tiny_encoder import write_tensors

Floats = npt.NDArray[np.float32]

_OUTSIDE = {"token_embd": "model.embed_tokens", "output_norm": "model.norm"}
_INSIDE = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def default_checkpoint() -> Path:
    """Its folder, written on the first call."""
    folder = cache_folder() / "benchmarks" / f"{DEFAULT.name}-f32"
    if not folder.is_dir():
        with TemporaryDirectory(dir=default_gguf().parent) as temporary:
            made = Path(temporary) / folder.name
            made.mkdir()
            _write(gguf.GGUFReader(default_gguf()), made)
            made.rename(folder)
    return folder


def _write(reader: gguf.GGUFReader, folder: Path) -> None:
    heads, kv_heads = (int(_field(reader, f"attention.head_count{suffix}")) for suffix in ("", "_kv"))
    tensors = {}
    for tensor in reader.tensors:
        weights = dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        turned = {"attn_q": heads, "attn_k": kv_heads}.get(tensor.name.split(".")[-2], 0)
        tensors[_name(tensor.name)] = _in_halves(weights, turned) if turned else weights
    write_tensors(folder / "model.safetensors", tensors, dtype="F32")
    (folder / "config.json").write_text(json.dumps(_config(reader, heads, kv_heads)))


def _field(reader: gguf.GGUFReader, name: str) -> float:
    value: float = reader.fields[f"llama.{name}"].contents()
    return value


def _config(reader: gguf.GGUFReader, heads: int, kv_heads: int) -> dict[str, object]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "tie_word_embeddings": True,
        "torch_dtype": "float32",
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "hidden_size": _field(reader, "embedding_length"),
        "intermediate_size": _field(reader, "feed_forward_length"),
        "num_hidden_layers": _field(reader, "block_count"),
        "max_position_embeddings": _field(reader, "context_length"),
        "rms_norm_eps": _field(reader, "attention.layer_norm_rms_epsilon"),
        "rope_theta": _field(reader, "rope.freq_base"),
        "vocab_size": _field(reader, "vocab_size"),
    }


def _name(name: str) -> str:
    """`blk.3.attn_q.weight` is `model.layers.3.self_attn.q_proj.weight`."""
    if not name.startswith("blk."):
        part, suffix = name.split(".")
        return f"{_OUTSIDE[part]}.{suffix}"
    _, layer, part, suffix = name.split(".")
    return f"model.layers.{layer}.{_INSIDE[part]}.{suffix}"


def _in_halves(weights: Floats, heads: int) -> Floats:
    """GGUF has the pairs of columns that rotary positions turn side by side, a checkpoint in two halves of a head."""
    pairs = weights.reshape(heads, -1, 2, weights.shape[1])
    return np.ascontiguousarray(pairs.swapaxes(1, 2)).reshape(weights.shape)
