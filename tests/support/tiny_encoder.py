"""A folder with a tiny encoder of random weights, as sentence-transformers saves one."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghij", "the", "cat", "sat", "##s", "##ting"]
WIDTH, HEADS, LAYERS, POSITIONS = 32, 4, 2, 40

POOLINGS = ("cls_token", "mean_tokens", "max_tokens", "lasttoken")


def write_tiny_encoder(
    folder: Path,
    *,
    pooling: str | None = "mean_tokens",
    dtype: str = "F32",
    prefix: str = "",
    modules: tuple[str, ...] = ("Transformer", "Pooling", "Normalize"),
    **config: Any,
) -> Path:
    """Write the model; `pooling` is the name of the mode that is true, None for no file."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = {
        "model_type": "bert",
        "hidden_size": WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "intermediate_size": 2 * WIDTH,
        "max_position_embeddings": POSITIONS,
        "layer_norm_eps": 1e-12,
        "hidden_act": "gelu",
        "pad_token_id": 0,
        "vocab_size": len(WORDS),
        **config,
    }
    files: dict[str, object] = {
        "config.json": settings,
        "tokenizer.json": _tokenizer(),
        "modules.json": [{"idx": i, "type": f"sentence_transformers.models.{kind}"} for i, kind in enumerate(modules)],
    }
    if pooling is not None:
        files["1_Pooling/config.json"] = {f"pooling_mode_{mode}": mode == pooling for mode in POOLINGS}
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(content))
    write_tensors(folder / "model.safetensors", _tensors(), dtype=dtype, prefix=prefix)
    return folder


def write_tensors(path: Path, tensors: dict[str, np.ndarray[Any, Any]], *, dtype: str, prefix: str = "") -> None:
    header, parts, begin = {}, [], 0
    for name, tensor in tensors.items():
        parts.append(raw := _encoded(tensor.astype(np.float32), dtype))
        end = begin + len(raw)
        header[prefix + name] = {"dtype": dtype, "shape": list(tensor.shape), "data_offsets": [begin, end]}
        begin = end
    head = json.dumps(header).encode()
    path.write_bytes(b"".join([struct.pack("<Q", len(head)), head, *parts]))


def _encoded(tensor: np.ndarray[Any, Any], dtype: str) -> bytes:
    if dtype == "BF16":
        return (tensor.view(np.uint32) >> 16).astype(np.uint16).tobytes()
    return tensor.astype({"F32": np.float32, "F16": np.float16}[dtype]).tobytes()


def _tensors() -> dict[str, np.ndarray[Any, Any]]:
    random = np.random.default_rng(7)
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (len(WORDS), WIDTH),
        "embeddings.position_embeddings.weight": (POSITIONS, WIDTH),
        "embeddings.token_type_embeddings.weight": (2, WIDTH),
    }
    norms = ["embeddings.LayerNorm"]
    for layer in range(LAYERS):
        name = f"encoder.layer.{layer}"
        linears = {f"attention.self.{part}": (WIDTH, WIDTH) for part in ("query", "key", "value")}
        linears |= {"attention.output.dense": (WIDTH, WIDTH)}
        linears |= {"intermediate.dense": (2 * WIDTH, WIDTH), "output.dense": (WIDTH, 2 * WIDTH)}
        for part, shape in linears.items():
            shapes[f"{name}.{part}.weight"], shapes[f"{name}.{part}.bias"] = shape, shape[:1]
        norms += [f"{name}.attention.output.LayerNorm", f"{name}.output.LayerNorm"]
    tensors = {name: random.normal(0, 0.3, shape) for name, shape in shapes.items()}
    for norm in norms:
        tensors[f"{norm}.weight"] = random.normal(1, 0.1, WIDTH)
        tensors[f"{norm}.bias"] = random.normal(0, 0.1, WIDTH)
    return tensors


def _tokenizer() -> dict[str, object]:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    specials = [{"id": i, "content": word, "special": True, **flags} for i, word in enumerate(WORDS[:5])]
    cls, sep = ({"SpecialToken": {"id": name, "type_id": 0}} for name in ("[CLS]", "[SEP]"))
    used = {name: {"id": name, "ids": [WORDS.index(name)], "tokens": [name]} for name in ("[CLS]", "[SEP]")}
    return {
        "version": "1.0",
        "truncation": {"max_length": 8, "strategy": "LongestFirst", "stride": 0},
        "padding": None,
        "added_tokens": specials,
        "normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "lowercase": True},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [cls, {"Sequence": {"id": "A", "type_id": 0}}, sep],
            "pair": [cls, {"Sequence": {"id": "A", "type_id": 0}}, sep, {"Sequence": {"id": "B", "type_id": 1}}, sep],
            "special_tokens": used,
        },
        "decoder": None,
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": {word: index for index, word in enumerate(WORDS)},
        },
    }
