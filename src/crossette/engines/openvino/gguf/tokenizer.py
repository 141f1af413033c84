"""Convert the tokenizer of a GGUF file to tokenizer.json, which the `tokenizers` library runs.

Two kinds are supported: byte-level BPE, whose merges the file lists, and SentencePiece's BPE, whose merges follow from
the scores of its tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from crossette.engines.hf_tokenizer import CONFIG_FILE, TOKENIZER_FILE, is_text
from crossette.engines.openvino.gguf.head import GgufHead
from crossette.engines.openvino.gguf.splitters import SPLITTERS, Splitter

_UNKNOWN, _CONTROL, _USER_DEFINED = 2, 3, 4
"""Token types that prompts contain by their text form."""
_NORMAL, _UNUSED, _BYTE = 1, 5, 6
_NOT_RSTRIPPED = ("<s>", "<unk>", "<|endoftext|>")
"""The control tokens of Phi-3 that keep the white space after them."""

_Json = dict[str, Any]


def special_tokens(head: GgufHead) -> dict[int, str]:
    """The tokens that are markup. User-defined tokens may also be text, such as runs of spaces."""
    return {
        index: token
        for index, token, kind in _added(head)
        if kind in (_UNKNOWN, _CONTROL) or (kind == _USER_DEFINED and not is_text(token))
    }


def _added(head: GgufHead) -> Iterable[tuple[int, str, int]]:
    types = head.list("tokenizer.ggml.token_type")
    for index, (token, kind) in enumerate(zip(head.list("tokenizer.ggml.tokens"), types, strict=False)):
        if kind in (_UNKNOWN, _CONTROL, _USER_DEFINED) and token:
            yield index, str(token), int(str(kind))


def unsupported_tokenizer(head: GgufHead) -> str | None:
    model = head.text("tokenizer.ggml.model")
    if model not in ("gpt2", "llama"):
        return (
            f"its tokenizer is '{model}', and only byte-level BPE ('gpt2') and SentencePiece's BPE ('llama')"
            " can be converted"
        )
    if not special_tokens(head):
        return "its tokenizer has no control tokens, so no output would end"
    return _unsupported_pieces(head) if model == "llama" else _unsupported_merges(head)


def _unsupported_merges(head: GgufHead) -> str | None:
    if splitter_name(head) not in SPLITTERS:
        return f"its pre-tokenizer is '{splitter_name(head)}', and only {', '.join(SPLITTERS)} are supported"
    if head.metadata.get("tokenizer.ggml.add_space_prefix"):
        return "its tokenizer puts a space before a text, which is supported for SentencePiece only"
    merges = head.list("tokenizer.ggml.merges")
    if not merges or not all(isinstance(merge, str) and merge.count(" ") == 1 for merge in merges):
        return "its tokenizer has no merges, or some that are not pairs"
    tokens = set(head.list("tokenizer.ggml.tokens"))
    for merge in map(str, merges):
        if not {*merge.split(" "), merge.replace(" ", "")} <= tokens:
            return f"its tokenizer merges '{merge}', which are not all tokens"
    return None


def _unsupported_pieces(head: GgufHead) -> str | None:
    scores, types = head.list("tokenizer.ggml.scores"), head.list("tokenizer.ggml.token_type")
    if not len(scores) == len(types) == len(head.list("tokenizer.ggml.tokens")):
        return "its tokenizer does not have a score and a type for each token"
    if head.list("tokenizer.ggml.precompiled_charsmap"):
        return "its tokenizer replaces characters before it splits a text"
    if head.metadata.get("tokenizer.ggml.treat_whitespace_as_suffix"):
        return "its tokenizer puts spaces at the end of words"
    if types.count(_BYTE) not in (0, 256):
        return f"its tokenizer has tokens for {types.count(_BYTE)} of 256 bytes"
    if _BYTE not in types and head.number("tokenizer.ggml.unknown_token_id") is None:
        return "its tokenizer has neither tokens for bytes nor one for unknown characters"
    return None


def splitter_name(head: GgufHead) -> str:
    return head.text("tokenizer.ggml.pre") or "default"


def adds_bos(head: GgufHead) -> bool:
    """Whether prompts begin with BOS: as the file says, else as its kind of tokenizer does."""
    declared = head.metadata.get("tokenizer.ggml.add_bos_token")
    if isinstance(declared, bool):
        return declared
    if head.text("tokenizer.ggml.model") == "llama":
        return True
    splitter = SPLITTERS.get(splitter_name(head))
    return splitter is not None and splitter.add_bos


def write_tokenizer(head: GgufHead, folder: Path) -> None:
    """Write tokenizer.json and tokenizer_config.json into `folder`."""
    ends = {f"{kind}_token": _token_text(head, kind) for kind in ("bos", "eos")}
    (folder / TOKENIZER_FILE).write_bytes(tokenizer_json(head))
    (folder / CONFIG_FILE).write_bytes(msgspec.json.encode(ends))


def tokenizer_json(head: GgufHead) -> bytes:
    tokens = _names(head)
    pieces = _pieces(head, tokens) if head.text("tokenizer.ggml.model") == "llama" else _byte_level(head, tokens)
    return msgspec.json.encode({"version": "1.0", "added_tokens": _added_tokens(head), **pieces})


def _names(head: GgufHead) -> dict[str, int]:
    """All tokens. What has no name of its own, as rows that only fill up the table, gets one that no text can be."""
    names: dict[str, int] = {}
    for index, token in enumerate(map(str, head.list("tokenizer.ggml.tokens"))):
        names[f"\0{index}" if not token or token in names else token] = index
    return names


def _added_tokens(head: GgufHead) -> list[_Json]:
    """Tokens found by their text. In SentencePiece that is the text after its replacements, but for markup."""
    markup = special_tokens(head)
    is_normalized = head.text("tokenizer.ggml.model") == "llama" and len(_piece_normalizers(head)) == 1
    is_phi3 = head.text("general.architecture") == "phi3" and head.text("tokenizer.ggml.model") == "llama"
    return [
        {
            "id": index,
            "content": token,
            "single_word": False,
            "lstrip": False,
            "rstrip": is_phi3 and token not in _NOT_RSTRIPPED,
            "normalized": is_normalized and index not in markup,
            "special": index in markup,
        }
        for index, token, _ in _added(head)
    ]


def _byte_level(head: GgufHead, tokens: Mapping[str, int]) -> _Json:
    splitter = SPLITTERS[splitter_name(head)]
    merges = [str(merge).split(" ") for merge in head.list("tokenizer.ggml.merges")]
    bytes_as_symbols = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    return {
        "normalizer": {"type": "NFC"} if splitter.composed else None,
        "pre_tokenizer": _sequence("pretokenizers", [*_splits(splitter), bytes_as_symbols]),
        "decoder": bytes_as_symbols,
        "model": {
            "type": "BPE",
            "vocab": tokens,
            "merges": merges,
            "ignore_merges": splitter.whole_pieces,
            "unk_token": _token_text(head, "unknown"),
        },
    }


def _splits(splitter: Splitter) -> list[_Json]:
    return [
        {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
        for pattern in splitter.patterns
    ]


def _sequence(key: str, steps: list[_Json]) -> _Json:
    return {"type": "Sequence", key: steps}


def _pieces(head: GgufHead, tokens: Mapping[str, int]) -> _Json:
    return {
        "normalizer": _sequence("normalizers", _piece_normalizers(head)),
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
            ],
        },
        "model": {
            "type": "BPE",
            "vocab": tokens,
            "merges": _merges(head),
            "byte_fallback": _BYTE in head.list("tokenizer.ggml.token_type"),
            "unk_token": _token_text(head, "unknown"),
            "fuse_unk": True,
        },
    }


def _piece_normalizers(head: GgufHead) -> list[_Json]:
    """SentencePiece's: fewer spaces, a space before the text, and spaces as `▁`."""
    steps: list[_Json] = []
    if head.metadata.get("tokenizer.ggml.remove_extra_whitespaces"):
        for pattern, replacement in ((r"\A +| +\z", ""), (" {2,}", " ")):
            steps.append({"type": "Replace", "pattern": {"Regex": pattern}, "content": replacement})
    if head.metadata.get("tokenizer.ggml.add_space_prefix", True):
        steps.append({"type": "Prepend", "prepend": "▁"})
    return [*steps, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]


def _merges(head: GgufHead) -> list[tuple[str, str]]:
    """All pairs of tokens that make a token, in the order in which SentencePiece joins them: by the token's score.

    Pairs of the same token are in the order that joins its first occurrence in a run of one character.
    """
    columns = (head.list(f"tokenizer.ggml.{name}") for name in ("tokens", "scores", "token_type"))
    scores = {
        str(token): float(str(score))
        for token, score, kind in zip(*columns, strict=True)
        if kind in (_NORMAL, _UNUSED) and token
    }
    return [
        (token[:cut], token[cut:])
        for token in sorted(scores, key=scores.__getitem__, reverse=True)
        for cut in range(len(token) - 1, 0, -1)
        if token[:cut] in scores and token[cut:] in scores
    ]


def _token_text(head: GgufHead, kind: str) -> str | None:
    index, tokens = head.number(f"tokenizer.ggml.{kind}_token_id"), head.list("tokenizer.ggml.tokens")
    return str(tokens[index]) if index is not None and index < len(tokens) else None
