"""The pre-tokenizers and normalizers of model families, as the tokenizer.json of each has them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN35 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_GPT4O = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_DEEPSEEK3 = (
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
    r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_BAILING = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*"
    r"|\s*[\r\n]|\s+(?!\S)|\s+"
)
_SEED_CODER = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}" + "\r\n" + r"]+"
    r"|\s*[" + "\r\n" + r"]+|\s+(?!\S)|\s+"
)
_EXAONE_MOE = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+"
)
_BLOOM = " ?[^(\\s|[.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c])]+"
_CJK = "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"
_CJK_CODER = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"

_Steps = tuple[Any, ...]  # the library has no types

_OWN = pre_tokenizers.ByteLevel(add_prefix_space=False)
_PLAIN = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
_DIGITS = pre_tokenizers.Digits(individual_digits=True)


def _split(*patterns: str) -> _Steps:
    return tuple(pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in patterns)


FAMILIES: Mapping[str, _Steps] = {
    "gpt-2": (_OWN,),
    "smollm": (_DIGITS, _OWN),
    "falcon": (pre_tokenizers.Punctuation("contiguous"), _OWN, *_split("[0-9][0-9][0-9]")),
    "llama-bpe": (*_split(_LLAMA3), _PLAIN),
    "qwen2": (*_split(_QWEN2), _PLAIN),
    "qwen35": (*_split(_QWEN35), _PLAIN),
    "tekken": (*_split(_TEKKEN), _PLAIN),
    "gpt-4o": (*_split(_GPT4O), _PLAIN),
    "deepseek-v3": (*_split(r"\p{N}{1,3}", _CJK, _DEEPSEEK3), _PLAIN),
    "deepseek-coder": (*_split("[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", _CJK_CODER), _DIGITS, _PLAIN),
    "bloom": (*_split(_BLOOM), _PLAIN),
    "viking": (*_split(_BLOOM), _DIGITS, _PLAIN),
    "bailingmoe": (*_split(_BAILING), _PLAIN),
    "seed-coder": (*_split(_SEED_CODER), _PLAIN),
    "exaone-moe": (*_split(_EXAONE_MOE), _PLAIN),
    "superbpe": (*_split(r"\p{N}+", r"(?=(\d{3})+(?!\d))"), _PLAIN),
}
"""The steps by a name of the family in GGUF files."""

COMPOSED = ("qwen2", "qwen35")
"""Families with the NFC normalizer."""
WHOLE_PIECES = ("llama-bpe", "tekken")
"""Families with `ignore_merges`."""


def reference(family: str, tokens: Sequence[str], merges: Sequence[str], markup: Mapping[int, str]) -> Tokenizer:
    """The family's tokenizer over another vocabulary, which recognises `markup`."""
    vocabulary = {token: index for index, token in enumerate(tokens)}
    pairs = [(left, right) for left, right in (merge.split(" ") for merge in merges)]
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=pairs, ignore_merges=family in WHOLE_PIECES))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(list(FAMILIES[family]))
    if family in COMPOSED:
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.add_special_tokens([AddedToken(text, normalized=False) for text in markup.values()])
    return tokenizer


@cache
def trained(texts: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The tokens and merges of a small byte-level vocabulary; the first three tokens are markup."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = _PLAIN
    trainer = trainers.BpeTrainer(
        vocab_size=2500,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        max_token_length=12,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    merges = tuple(" ".join(merge) for merge in model["merges"])
    return tuple(sorted(model["vocab"], key=model["vocab"].__getitem__)), merges
