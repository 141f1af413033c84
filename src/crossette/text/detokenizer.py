"""Token bytes to text, holding back half a character."""

from __future__ import annotations

import codecs


class Detokenizer:
    """Joins the bytes of tokens; gives text as soon as its characters are whole.

    Bytes that are no UTF-8 become U+FFFD, as everywhere. A character that never became whole is not text: it is
    dropped at the end, and stays visible in the bytes of its tokens.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token_bytes: bytes) -> str:
        return self._decoder.decode(token_bytes)
