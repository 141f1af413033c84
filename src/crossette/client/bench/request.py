"""One streamed request and its measurements. Times are seconds."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass, field
from itertools import pairwise
from time import perf_counter

import msgspec

from crossette.client.bench.connection import Connection, ConnectionFailed, Response
from crossette.client.bench.sse import ChunkUsage, SseReader, read_chunk
from crossette.client.remote import error_text


@dataclass(frozen=True, slots=True)
class Failure:
    """The failure of a request: its kind, for counting, and a message."""

    kind: str
    message: str


@dataclass(frozen=True, slots=True)
class RequestResult:
    """The measurements of a request. Token counts are the server's, None without usage."""

    started_s: float
    """The start by `perf_counter`."""
    total_s: float
    """From sending the request to `[DONE]` or the failure."""
    first_token_s: float | None = None
    """From sending the request to the first chunk with text; None without text."""
    gaps_s: tuple[float, ...] = ()
    """The times between chunks with text. A chunk may contain several tokens."""
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    completion_tokens: int | None = None
    finish_reason: str | None = None
    failure: Failure | None = None

    @property
    def inter_token_s(self) -> float | None:
        """The mean time between tokens, (last text - first text) / (tokens - 1), for any number of tokens per chunk."""
        if not self.gaps_s or self.completion_tokens is None or self.completion_tokens < 2:
            return None
        return sum(self.gaps_s) / (self.completion_tokens - 1)

    @property
    def largest_gap_s(self) -> float | None:
        return max(self.gaps_s, default=None)


async def stream_request(connection: Connection, path: str, body: bytes, *, timeout_s: float) -> RequestResult:
    """Send a request and read its stream to the end. Failures are part of the result."""
    started = perf_counter()
    stream = _Stream()
    failure = await _failure_of(connection, path, body, stream, timeout_s)
    if failure is not None:
        connection.close()  # the rest of this response must not be read as the next one
    usage = stream.usage
    details = usage.prompt_tokens_details if usage else None
    return RequestResult(
        started_s=started,
        total_s=(stream.done_at or perf_counter()) - started,
        first_token_s=stream.text_at[0] - started if stream.text_at else None,
        gaps_s=tuple(after - before for before, after in pairwise(stream.text_at)),
        prompt_tokens=usage.prompt_tokens if usage else None,
        cached_tokens=details.cached_tokens if details else None,
        completion_tokens=usage.completion_tokens if usage else None,
        finish_reason=stream.finish_reason,
        failure=failure,
    )


async def _failure_of(
    connection: Connection, path: str, body: bytes, stream: _Stream, timeout_s: float
) -> Failure | None:
    try:
        async with asyncio.timeout(timeout_s):
            return await _read(await connection.request("POST", path, body), stream)
    except TimeoutError:
        return Failure("timeout", f"not finished after {timeout_s:g} s, {len(stream.text_at)} chunks with text")
    except ConnectionFailed as error:
        return Failure("connection", str(error))


async def _read(response: Response, stream: _Stream) -> Failure | None:
    if response.status != 200:
        return Failure(f"HTTP {response.status}", error_text(await response.read()))
    content_type = response.headers.get("content-type", "")
    if not content_type.startswith("text/event-stream"):
        return Failure("not a stream", f"the content type is {content_type or 'missing'}, not text/event-stream")
    async with aclosing(response.pieces()) as pieces:
        async for piece in pieces:
            if failure := stream.feed(piece, perf_counter()):
                return failure
    if stream.done_at is None:
        return Failure("no [DONE]", f"the stream ended after {len(stream.text_at)} chunks with text")
    return None


@dataclass(slots=True)
class _Stream:
    """The state of a streamed response."""

    text_at: list[float] = field(default_factory=list)
    done_at: float | None = None
    usage: ChunkUsage | None = None
    finish_reason: str | None = None
    _events: SseReader = field(default_factory=SseReader)

    def feed(self, piece: bytes, now: float) -> Failure | None:
        for data in self._events.feed(piece):
            if data == b"[DONE]":
                self.done_at = now
            elif failure := self._read_chunk(data, now):
                return failure
        return None

    def _read_chunk(self, data: bytes, now: float) -> Failure | None:
        try:
            chunk = read_chunk(data)
        except msgspec.DecodeError as error:
            return Failure("unreadable chunk", f"{error}: {data[:100].decode(errors='replace')}")
        if (message := chunk.error_message) is not None:
            return Failure("error frame", message)
        # Servers send usage with every chunk, with the last one or in a separate one: the last one counts.
        self.usage = chunk.usage or self.usage
        for choice in chunk.choices or ():
            self.finish_reason = choice.finish_reason or self.finish_reason
            if choice.has_text:
                self.text_at.append(now)
        return None
