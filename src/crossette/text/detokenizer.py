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
        self._num_chars = 0
        self.begin = 0
        """The character in which the first byte of what was pushed last stands."""

    def push(self, token_bytes: bytes) -> str:
        """The characters that these bytes complete."""
        self.begin, text = self._num_chars, ""
        if self._holds_half:  # the first byte goes on with it, or ends it as no text and stands behind it
            text, token_bytes = self._decoder.decode(token_bytes[:1]), token_bytes[1:]
            stands_in_last = text != "" and not self._holds_half
            self.begin += len(text) - stands_in_last
        text += self._decoder.decode(token_bytes)
        self._num_chars += len(text)
        return text

    @property
    def _holds_half(self) -> bool:
        return self._decoder.getstate()[0] != b""
