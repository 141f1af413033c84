"""Parses server-sent events into the chunk fields that the benchmark measures. Pure: bytes in, values out."""

from __future__ import annotations

from typing import Any

import msgspec

from crossette.client.remote import error_message


class SseReader:
    """Parses a byte stream, in pieces split anywhere, into the data of its events.

    Lines may end in LF or CRLF; comments and fields other than `data` are skipped.
    A lone CR as line end, which the standard allows and no server sends, is not supported.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []

    def feed(self, piece: bytes) -> list[bytes]:
        """The data of all events that this piece completes."""
        lines = (self._rest + piece).split(b"\n")
        self._rest = lines.pop()
        events = []
        for line in lines:
            line = line.removesuffix(b"\r")
            if line.startswith(b"data:"):
                self._data.append(line[5:].removeprefix(b" "))
            elif not line and self._data:
                events.append(b"\n".join(self._data))
                self._data.clear()
        return events


class Details(msgspec.Struct):
    cached_tokens: int | None = None


class ChunkUsage(msgspec.Struct):
    prompt_tokens: int
    completion_tokens: int = 0
    prompt_tokens_details: Details | None = None


class ChunkDelta(msgspec.Struct):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[Any] | None = None  # only whether there are any


class ChunkChoice(msgspec.Struct):
    text: str | None = None
    delta: ChunkDelta | None = None
    finish_reason: str | None = None

    @property
    def has_text(self) -> bool:
        if self.delta is None:
            return bool(self.text)
        delta = self.delta
        return bool(delta.content or delta.reasoning_content or delta.reasoning or delta.tool_calls)


class Chunk(msgspec.Struct):
    """The measured part of a chunk, of both endpoints and any server."""

    choices: list[ChunkChoice] | None = None
    usage: ChunkUsage | None = None
    error: Any = None  # an object in most servers, a string in some
    object: str | None = None
    message: str | None = None

    @property
    def error_message(self) -> str | None:
        """The message of an error frame, in the format of OpenAI or older vLLM; None if this is not an error."""
        if self.error is not None:
            return error_message(self.error)
        return self.message or "no message" if self.object == "error" else None


read_chunk = msgspec.json.Decoder(Chunk).decode
