"""Write tests/data/splitters.json: tokens by Hugging Face's tokenizers, with the pre-tokenizers of model families.

    python -m venv .venvs/tokenizers
    .venvs/tokenizers/bin/pip install tokenizers gguf
    PYTHONPATH=tests .venvs/tokenizers/bin/python -m support.make_splitter_data DEFAULT_MODEL.gguf

The patterns are those of the families' own tokenizer.json; the vocabulary is the default model's plus a few tokens.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from gguf import GGUFReader

from support.splitter_texts import DATA, MORE_MERGES, MORE_TOKENS, TEXTS

PATTERNS = {
    "llama-bpe": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+",
    "qwen2": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+",
    "tekken": r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
}


def main(gguf: Path) -> None:
    hf = import_module("tokenizers")  # not installed in the test environment
    steps = hf.pre_tokenizers
    plain = steps.ByteLevel(add_prefix_space=False, use_regex=False)
    own = steps.ByteLevel(add_prefix_space=False)
    rules = {
        "gpt-2": own,
        "smollm": steps.Sequence([steps.Digits(individual_digits=True), own]),
        **{name: steps.Sequence([steps.Split(hf.Regex(p), "isolated"), plain]) for name, p in PATTERNS.items()},
    }
    fields = GGUFReader(gguf).fields
    tokens, merges = (fields[f"tokenizer.ggml.{name}"].contents() for name in ("tokens", "merges"))
    vocabulary: dict[str, int] = {}
    for index, token in enumerate([*tokens, *MORE_TOKENS]):
        vocabulary.setdefault(token, index)
    found: dict[str, Any] = {}
    for name, rule in rules.items():
        pairs = [tuple(merge.split(" ")) for merge in [*merges, *MORE_MERGES]]
        tokenizer = hf.Tokenizer(hf.models.BPE(vocab=vocabulary, merges=pairs, ignore_merges=True))
        tokenizer.pre_tokenizer = rule
        found[name] = [tokenizer.encode(text, add_special_tokens=False).ids for text in TEXTS]
    lines = (f'"{name}": {json.dumps(ids, separators=(",", ":"))}' for name, ids in found.items())
    DATA.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
