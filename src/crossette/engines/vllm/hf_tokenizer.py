"""The `Tokenizer` protocol on tokenizer.json, the format of Hugging Face's tokenizers.

Two tokenizers are loaded from one file: the second does not recognise added tokens, so that `<|im_end|>` in a user's
message stays text. It does recognise those that are white space alone: they are text, and the model expects them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import llguidance
import msgspec
from tokenizers import Tokenizer

from crossette.errors import ModelError

TOKENIZER_FILE = "tokenizer.json"
CONFIG_FILE = "tokenizer_config.json"

_Json = dict[str, Any]  # Any: files of other programs, of which few keys are read


class HFTokenizer:
    """The tokenizer of a folder. Thread-safe. Raises ModelError."""

    def __init__(self, folder: Path, *, add_bos: bool) -> None:
        content = _read(folder / TOKENIZER_FILE)
        added: list[_Json] = content.get("added_tokens") or []
        # Only special tokens can be turned off, so here all markup is special.
        all_special = [token | {"special": bool(token["content"].strip())} for token in added]
        self._with_specials = _tokenizer(content)
        self._without_specials = _tokenizer(content | {"added_tokens": all_special})
        self._without_specials.encode_special_tokens = True
        markup = {token["content"] for token in added if token["content"].strip()}
        self._special = re.compile("|".join(map(re.escape, sorted(markup, key=len, reverse=True)))) if markup else None
        self._control = frozenset(token["id"] for token in added if token.get("special"))
        self._texts = _texts(content, self._with_specials.get_vocab())
        config = _read(folder / CONFIG_FILE)
        self.bos_token, self.eos_token = (_text(config.get(name)) for name in ("bos_token", "eos_token"))
        self.eos_token_id: int | None = self._with_specials.token_to_id(self.eos_token)
        self.bos_token_id: int | None = self._with_specials.token_to_id(self.bos_token) if add_bos else None

    @property
    def vocab_size(self) -> int:
        return len(self._texts)

    def encode(self, text: str, *, specials: bool) -> list[int]:
        tokenizer = self._with_specials if specials else self._without_specials
        valid = text.encode("utf-8", "replace").decode()
        ids: list[int] = tokenizer.encode(valid, add_special_tokens=False).ids
        return ids

    def has_specials(self, text: str) -> bool:
        return self._special is not None and self._special.search(text) is not None

    def token_bytes(self, token_id: int) -> bytes:
        return b"" if token_id in self._control else self._texts[token_id]

    def token_text(self, token_id: int) -> bytes:
        return self._texts[token_id]


def _tokenizer(content: _Json) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_str(msgspec.json.encode(content).decode())
    except Exception as error:  # the library raises no narrower type
        raise ModelError(f"{TOKENIZER_FILE} cannot be loaded: {error}") from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


_LAST_BYTE = ("ÿ", "<0xFF>")
"""The byte 255 in vocabularies. llguidance uses it as a mark, and gives it no text."""


def _texts(content: _Json, vocabulary: Mapping[str, int]) -> list[bytes]:
    """The bytes of every id's text form; empty for unused ids."""
    decoder = llguidance.LLTokenizer(msgspec.json.encode(content).decode())
    texts = [b""] * (max(vocabulary.values()) + 1)
    for name, token in vocabulary.items():
        texts[token] = bytes(decoder.decode_bytes([token])) or (b"\xff" if name in _LAST_BYTE else b"")
    return texts


def _read(path: Path) -> _Json:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Json)
    except OSError as error:
        raise ModelError(f"{path.parent} has no readable {path.name}, which vLLM models need.") from error
    except msgspec.DecodeError as error:
        raise ModelError(f"Can't read {path}: {error}.") from error


def _text(token: Any) -> str:
    """The text of a token of tokenizer_config.json, which is a string or an object; "" for none."""
    if isinstance(token, Mapping):
        token = token.get("content")
    return token if isinstance(token, str) else ""
