"""The pre-tokenizers of byte-level BPE, by the name in a GGUF file's `tokenizer.ggml.pre`.

A file has a name only; the patterns are those of the models' own tokenizer.json. They are applied one after the other
to the pieces so far: each match becomes a piece of its own, as does the text between two matches.
Names that are not listed belong to encoders, or to tokenizers whose rules are not known as patterns.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Splitter:
    """How a family prepares text for its merges. GGUF files carry none of this but a name."""

    patterns: tuple[str, ...]
    composed: bool = False
    """Whether text is brought into Unicode's NFC form first."""
    whole_pieces: bool = False
    """Whether a piece that is a token by itself is that token, whatever its merges give."""
    add_bos: bool = False
    """Whether prompts begin with BOS if the file does not say."""


_SUFFIXES = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_BEFORE = r"[^\r\n\p{L}\p{N}]?"
_SYMBOLS = r" ?[^\s\p{L}\p{N}]+[\r\n]*"
_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_CJK = "[一-龥\u3040-\u30ff]+"
_BLOOM = r" ?[^(\s|.,!?…。，、।۔،)]+"  # noqa: RUF001
_DEEPSEEK_WORDS = (
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
    rf"| ?[\p{{P}}\p{{S}}]+[\r\n]*|{_SPACES}"
)


def _words(digits: str, suffixes: str = f"{_SUFFIXES}|", letters: str = r"\p{L}+", symbols: str = _SYMBOLS) -> str:
    """Llama 3's pattern, of which many families change a part."""
    return rf"{suffixes}{_BEFORE}{letters}|{digits}|{symbols}|{_SPACES}"


def _cased(digits: str, suffixes: str = "", exclude: str = "") -> str:
    """The pattern of GPT-4o: a word ends before an upper-case letter that follows a lower-case one."""
    lower, upper = (rf"[{case}\p{{Lm}}\p{{Lo}}\p{{M}}{exclude}]" for case in (r"\p{Ll}", r"\p{Lu}\p{Lt}"))
    words = rf"{_BEFORE}{upper}*{lower}+{suffixes}|{_BEFORE}{upper}+{lower}*{suffixes}"
    return rf"{words}|{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_SPACES}"


_THREE, _ONE = r"\p{N}{1,3}", r"\p{N}"

_DIGITS_GPT2 = Splitter((_ONE, _GPT2))
_PLAIN_GPT2 = Splitter((_GPT2,))
_LLAMA3 = Splitter((_words(_THREE),), whole_pieces=True, add_bos=True)
_QWEN2 = Splitter((_words(_ONE),), composed=True)
_GPT4O = Splitter((_cased(_THREE, f"{_SUFFIXES}?"),))
_DEEPSEEK3 = Splitter((_THREE, _CJK, _DEEPSEEK_WORDS))
_BAILING = Splitter(
    (
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*"
        r"|\s*[\r\n]|\s+(?!\S)|\s+",
    )
)
_KIMI_K2 = Splitter((r"[\p{Han}]+|" + _cased(_THREE, f"{_SUFFIXES}?", exclude=r"&&[^\p{Han}]").replace("/]*|", "]*|"),))
_EXAONE_MOE = Splitter(
    (
        rf"{_SUFFIXES}|{_BEFORE}(?:\p{{L}}\p{{M}}*(?: \p{{L}}\p{{M}}*)*)+|\p{{N}}"
        r"| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+",
    )
)
_RUNS = "|".join(rf"\s{{{count}}}(?!\S)" for count in ("512", "256", "128", "64", "32", "16", "8", "4", "1,2"))

_FAMILIES: tuple[tuple[str, Splitter], ...] = (
    ("default", Splitter((r"[\p{P}\$\+<=>\^~\|]+", _GPT2, r"\p{N}+", "[0-9][0-9][0-9]"))),
    ("gpt-2 phi-2 jais trillion granite-docling exaone4 gigachat a.x-4.0 mellum", _PLAIN_GPT2),
    ("mpt olmo", replace(_PLAIN_GPT2, composed=True)),
    ("smollm starcoder refact codeshell exaone minerva-7b mellum2", _DIGITS_GPT2),
    ("command-r", replace(_DIGITS_GPT2, composed=True)),
    ("falcon", Splitter((r"[\p{P}\$\+<=>\^~\|`]+", _GPT2, "[0-9][0-9][0-9]"))),
    ("llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2", _LLAMA3),
    ("dbrx smaug-bpe", Splitter(_LLAMA3.patterns)),
    ("glm4 chatglm-bpe", Splitter(_LLAMA3.patterns, whole_pieces=True)),
    ("qwen2 stablelm2 megrez kormo f2llmv2", _QWEN2),
    ("deepseek-r1-qwen hunyuan grok-2 solar-open", replace(_QWEN2, composed=False)),
    ("qwen35", Splitter((_words(_ONE, letters=r"[\p{L}\p{M}]+", symbols=r" ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*"),), True)),
    ("ufakzeka", Splitter((_words(_ONE, suffixes=""),))),
    ("seed-coder", Splitter((_words(_ONE, symbols=r" ?[^\s\p{L}\p{N}\r\n]+"),))),
    ("minicpm5", Splitter((_THREE, _words(r"\p{N}+")), whole_pieces=True)),
    ("jais-2", Splitter((_words(_THREE).removesuffix(r"|\s+(?!\S)|\s+") + rf"|{_RUNS}|\s{{1}}",))),
    ("tekken", Splitter((_cased(_ONE),), whole_pieces=True, add_bos=True)),
    ("gpt-4o llama4 kanana2 minimax-m2", _GPT4O),
    ("tiny_aya cohere2moe", Splitter((r"\d{1,3}(?=(?:\d{3})*\b)", *_GPT4O.patterns))),
    ("kimi-k2", _KIMI_K2),
    ("deepseek-coder", Splitter(("[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥\u0800-一가-\ud7ff]+", _ONE))),
    ("deepseek-v3 hunyuan-dense joyai-llm", _DEEPSEEK3),
    ("bloom poro-chat gpt3-finnish", Splitter((_BLOOM,))),
    ("viking", Splitter((_BLOOM, _ONE))),
    ("superbpe", Splitter((r"\p{N}+", r"(?=(\d{3})+(?!\d))"))),
    ("bailingmoe bailingmoe2 llada-moe", _BAILING),
    ("exaone-moe", _EXAONE_MOE),
)

SPLITTERS = {name: splitter for names, splitter in _FAMILIES for name in names.split()}
