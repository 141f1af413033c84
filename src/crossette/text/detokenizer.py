"""Incremental detokenization: token bytes to text, with incomplete characters held back."""

from __future__ import annotations

import codecs


class Detokenizer:
    """Joins the bytes of tokens and returns text as soon as its characters are complete.

    Invalid UTF-8 becomes U+FFFD. A character that is still incomplete at the end is dropped from the text, and stays
    visible in the bytes of its tokens.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._num_chars = 0
        self._is_incomplete = False
        """Whether the bytes so far end within a character."""
        self.begin = 0
        """Offset of the character that contains the first byte of the last push."""

    def push(self, token_bytes: bytes) -> str:
        """Return the characters that these bytes complete."""
        self.begin = self._num_chars
        if token_bytes.isascii() and not self._is_incomplete:
            text = token_bytes.decode("ascii")
        else:
            text = self._decode(token_bytes)
        self._num_chars += len(text)
        return text

    def _decode(self, token_bytes: bytes) -> str:
        text = ""
        if self._is_incomplete:  # the first byte continues the character, or makes it invalid and follows it
            text, token_bytes = self._decoder.decode(token_bytes[:1]), token_bytes[1:]
            is_in_last = text != "" and self._decoder.getstate()[0] == b""
            self.begin += len(text) - is_in_last
        text += self._decoder.decode(token_bytes)
        self._is_incomplete = self._decoder.getstate()[0] != b""
        return text
