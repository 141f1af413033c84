"""Tokenizers as folders that Hugging Face's transformers loads without a download."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from openvino_tokenizers.utils import unicode_to_bytes

from crossette.engines.openvino.gguf.head import GgufHead
from crossette.engines.openvino.gguf.tokenizer import special_tokens
from crossette.testing.fake_tokenizer import SPECIALS

BOS, EOS = "<|im_start|>", "<|im_end|>"

_BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
_SMOLLM = {
    "type": "Sequence",
    "pretokenizers": [{"type": "Digits", "individual_digits": True}, {**_BYTES, "use_regex": True}],
}


def write_fake_tokenizer(folder: Path) -> None:
    """The tokenizer of the fake engine: a token for each byte."""
    specials = {256 + index: token for index, token in enumerate(SPECIALS)}
    _write(folder, dict(unicode_to_bytes()), [], specials, _BYTES)


def write_smollm_tokenizer(head: GgufHead, folder: Path) -> None:
    """The tokenizer of a GGUF file whose pre-tokenizer is `smollm`, the default model's."""
    assert head.text("tokenizer.ggml.pre") == "smollm"
    tokens, merges = (head.list(f"tokenizer.ggml.{name}") for name in ("tokens", "merges"))
    vocabulary = {str(token): index for index, token in enumerate(tokens)}
    _write(folder, vocabulary, [str(merge) for merge in merges], special_tokens(head), _SMOLLM)


def _write(
    folder: Path,
    vocabulary: dict[str, int],
    merges: Sequence[str],
    specials: dict[int, str],
    splitter: dict[str, Any],
) -> None:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    tokenizer = {
        "version": "1.0",
        "added_tokens": [{"id": id_, "content": token, "special": True, **flags} for id_, token in specials.items()],
        "pre_tokenizer": splitter,
        "decoder": _BYTES,
        "model": {"type": "BPE", "vocab": vocabulary, "merges": merges},
    }
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": BOS, "eos_token": EOS}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
