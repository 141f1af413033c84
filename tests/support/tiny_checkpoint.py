"""The metadata of a tiny model in Hugging Face's format, for engines that read the weights themselves."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from crossette.engine import ModelFiles
from crossette.models.checkpoint import find_checkpoint
from crossette.server.served import checkpoint_files
from crossette.testing.fake_engine import CHAT_TEMPLATE
from crossette.testing.fake_tokenizer import IM_END, IM_START
from support.engine_calls import TINY_CONTEXT
from support.hf_tokenizers import write_fake_tokenizer


def write_tiny_checkpoint(folder: Path) -> None:
    """A folder without weights. vLLM's own are `write_random_weights`."""
    write_fake_tokenizer(folder)
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": 259,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": 32,
        "max_position_embeddings": TINY_CONTEXT,
        "bos_token_id": IM_START,
        "eos_token_id": IM_END,
        "dtype": "float32",
    }
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE, encoding="utf-8")


def write_random_weights(folder: Path) -> None:
    """Random weights for the model of `write_tiny_checkpoint`, in one safetensors file."""
    rng = np.random.default_rng(0)
    shapes = {"model.embed_tokens.weight": (259, 64), "lm_head.weight": (259, 64), "model.norm.weight": (64,)}
    for layer in range(2):
        shapes |= {f"model.layers.{layer}.{name}.weight": shape for name, shape in _LAYER.items()}
    header: dict[str, object] = {}
    data = b""
    for name, shape in shapes.items():
        values = np.ones(shape) if len(shape) == 1 else rng.normal(0, 0.5, shape)
        tensor = values.astype("<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + len(tensor)]}
        data += tensor
    encoded = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(len(encoded).to_bytes(8, "little") + encoded + data)


_LAYER: dict[str, tuple[int, ...]] = {
    **{f"self_attn.{name}_proj": (64, 64) for name in "qkvo"},
    "mlp.gate_proj": (128, 64),
    "mlp.up_proj": (128, 64),
    "mlp.down_proj": (64, 128),
    "input_layernorm": (64,),
    "post_attention_layernorm": (64,),
}


def tiny_checkpoint_files(folder: Path) -> ModelFiles:
    return checkpoint_files(find_checkpoint(str(folder)), name="tiny", tool_format="")
