"""A tokenizer without a model: a token for each byte, and a few control tokens."""

from __future__ import annotations

import re
from collections.abc import Sequence

SPECIALS = ("<|im_start|>", "<|im_end|>", "<|endoftext|>")
IM_START, IM_END, END_OF_TEXT = range(256, 259)


class FakeTokenizer:
    """A token per byte, then three control tokens and those of `extra_specials`. Implements `Tokenizer`."""

    def __init__(self, *, add_bos: bool = False, extra_specials: Sequence[str] = ()) -> None:
        self.specials = (*SPECIALS, *extra_specials)
        self.bos_token_id = END_OF_TEXT if add_bos else None
        self.bos_token = "<|endoftext|>"
        self.eos_token = "<|im_end|>"
        self._special = re.compile("|".join(map(re.escape, sorted(self.specials, key=len, reverse=True))))

    def encode(self, text: str, *, specials: bool) -> list[int]:
        if not specials:
            return list(text.encode("utf-8", "replace"))
        tokens: list[int] = []
        end = 0
        for match in self._special.finditer(text):
            tokens += text[end : match.start()].encode("utf-8", "replace")
            tokens.append(256 + self.specials.index(match[0]))
            end = match.end()
        return tokens + list(text[end:].encode("utf-8", "replace"))

    def has_specials(self, text: str) -> bool:
        return self._special.search(text) is not None

    def token_bytes(self, token_id: int) -> bytes:
        return bytes((token_id,)) if token_id < 256 else b""

    def token_text(self, token_id: int) -> bytes:
        return bytes((token_id,)) if token_id < 256 else self.specials[token_id - 256].encode()
