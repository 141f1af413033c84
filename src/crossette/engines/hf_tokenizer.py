"""The `Tokenizer` protocol on tokenizer.json, the format of Hugging Face's tokenizers.

The library's tokenizer is made to recognise no markup, so that `<|im_end|>` in a user's message stays text. Where
markup counts, the text is split at it here: so one copy of the vocabulary is enough.
Added tokens that are text are always recognised: white space and HTML, which the model expects as one token.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from tokenizers import Tokenizer

from crossette.errors import ModelError

TOKENIZER_FILE = "tokenizer.json"
CONFIG_FILE = "tokenizer_config.json"

_Json = dict[str, Any]  # Any: files of other programs, of which few keys are read

_HTML = re.compile(
    "</?(?:a|b|bbox|blockquote|body|br|caption|code|div|em|footer|h[1-6]|head|header|hr|html|i|iframe|img|li|ol|p|pre"
    "|s|span|strong|style|sub|sup|table|tbody|td|tfoot|th|thead|title|tr|u|ul)>"
)
_BYTE = re.compile("<0x([0-9A-F]{2})>")


def is_text(token: str) -> bool:
    """Whether a token that is declared beside the vocabulary, and not as special, is text rather than markup."""
    return not token.strip() or _HTML.fullmatch(token) is not None


class HFTokenizer:
    """The tokenizer of a folder. Thread-safe. Raises ModelError."""

    def __init__(self, folder: Path, *, add_bos: bool) -> None:
        content = _read(folder / TOKENIZER_FILE, dict[str, msgspec.Raw])
        added: list[_Json] = msgspec.json.decode(content.get("added_tokens", b"null")) or []
        markup = {token["content"]: token for token in added if token.get("special") or not is_text(token["content"])}
        # Only special tokens can be turned off, so here all markup is special.
        marked = [token | {"special": token["content"] in markup} for token in added]
        self._tokenizer = _tokenizer(content | {"added_tokens": msgspec.Raw(msgspec.json.encode(marked))})
        self._tokenizer.encode_special_tokens = True
        self._markup = markup
        self._special = re.compile(_longest_of(markup)) if markup else None
        self._control = frozenset(token["id"] for token in added if token.get("special"))
        self._texts = _texts(content, self._tokenizer.get_vocab(), {token["content"] for token in added})
        config = _read(folder / CONFIG_FILE, _Json)
        self.bos_token, self.eos_token = (_text(config.get(name)) for name in ("bos_token", "eos_token"))
        self.eos_token_id: int | None = self._tokenizer.token_to_id(self.eos_token)
        self.bos_token_id: int | None = self._tokenizer.token_to_id(self.bos_token) if add_bos else None

    @property
    def vocab_size(self) -> int:
        return len(self._texts)

    def encode(self, text: str, *, specials: bool) -> list[int]:
        valid = text.encode("utf-8", "replace").decode()
        if not specials or self._special is None:
            return self._encode(valid)
        tokens, begin = [], 0
        for found in self._special.finditer(valid):
            token = self._markup[found.group()]
            before = valid[begin : found.start()]
            tokens += self._encode(before.rstrip() if token.get("lstrip") else before)
            tokens.append(int(token["id"]))
            begin = found.end()
            if token.get("rstrip"):
                begin = len(valid) - len(valid[begin:].lstrip())
        return tokens + self._encode(valid[begin:])

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids if text else []
        return ids

    def has_specials(self, text: str) -> bool:
        return self._special is not None and self._special.search(text) is not None

    def token_bytes(self, token_id: int) -> bytes:
        return b"" if token_id in self._control else self._texts[token_id]

    def token_text(self, token_id: int) -> bytes:
        return self._texts[token_id]


def _tokenizer(content: Mapping[str, msgspec.Raw]) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_buffer(msgspec.json.encode(content))
    except Exception as error:  # the library raises no narrower type
        raise ModelError(f"{TOKENIZER_FILE} cannot be loaded: {error}") from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def _texts(content: Mapping[str, msgspec.Raw], vocabulary: Mapping[str, int], added: set[str]) -> list[bytes]:
    """The bytes of every id's text form; empty for unused ids."""
    steps = (bytes(content.get(step, b"")) for step in ("pre_tokenizer", "decoder"))
    decode = _byte_level if any(b'"ByteLevel"' in step for step in steps) else piece_bytes
    texts = [b""] * (max(vocabulary.values()) + 1)
    for name, token in vocabulary.items():
        texts[token] = name.encode() if name in added else decode(name)
    return texts


def _longest_of(words: Iterable[str]) -> str:
    """A pattern of the longest of the words, as a tree of letters: some vocabularies have 6,000 control tokens."""
    tree: dict[str, Any] = {}
    for word in words:
        node = tree
        for letter in word:
            node = node.setdefault(letter, {})
        node[""] = {}
    return _branches(tree)


def _branches(tree: Mapping[str, Any]) -> str:
    patterns = [re.escape(letter) + _branches(rest) for letter, rest in tree.items() if letter]
    return f"(?:{'|'.join(patterns)}){'?' if '' in tree else ''}" if patterns else ""


def byte_symbols() -> list[str]:
    """The character that stands for each byte in a byte-level vocabulary, as in GPT-2."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return [chr(byte if byte in printable else next(others)) for byte in range(256)]


_BYTE_OF = {symbol: byte for byte, symbol in enumerate(byte_symbols())}


def _byte_level(name: str) -> bytes:
    try:
        return bytes(_BYTE_OF[symbol] for symbol in name)
    except KeyError:  # the text of an added token
        return name.encode()


def piece_bytes(name: str) -> bytes:
    """SentencePiece's notation: `▁` is a space, and `<0x0A>` a byte."""
    if name.startswith("<0x") and (found := _BYTE.fullmatch(name)):
        return bytes((int(found[1], 16),))
    return name.replace("▁", " ").encode()


def _read(path: Path, kind: Any) -> Any:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except OSError as error:
        raise ModelError(f"{path.parent} has no readable {path.name}, which its tokenizer needs.") from error
    except msgspec.DecodeError as error:
        raise ModelError(f"Can't read {path}: {error}.") from error


def _text(token: Any) -> str:
    """The text of a token of tokenizer_config.json, which is a string or an object; "" for none."""
    if isinstance(token, Mapping):
        token = token.get("content")
    return token if isinstance(token, str) else ""
