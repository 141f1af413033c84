"""One streamed request and what was measured of it. Times are seconds."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass, field
from itertools import pairwise
from time import perf_counter

import msgspec

from crossette.client.bench.connection import Connection, ConnectionFailed, Response
from crossette.client.bench.sse import ChunkUsage, SseReader, read_chunk
from crossette.client.remote import told


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a request did not end well: a kind to count by, and what was said."""

    kind: str
    message: str


@dataclass(frozen=True, slots=True)
class RequestResult:
    """What was measured of one request; the token counts are the server's, None where it gave no usage."""

    started_s: float
    """On the clock of `perf_counter`."""
    total_s: float
    """From sending to `[DONE]`, or to the failure."""
    first_token_s: float | None = None
    """From sending to the first chunk with text; None if none came."""
    gaps_s: tuple[float, ...] = ()
    """Between one chunk with text and the next. A chunk may hold several tokens."""
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    completion_tokens: int | None = None
    finish_reason: str | None = None
    failure: Failure | None = None

    @property
    def inter_token_s(self) -> float | None:
        """(last text - first text) / (tokens - 1): the mean, whatever number of tokens a chunk holds."""
        if not self.gaps_s or self.completion_tokens is None or self.completion_tokens < 2:
            return None
        return sum(self.gaps_s) / (self.completion_tokens - 1)

    @property
    def largest_gap_s(self) -> float | None:
        return max(self.gaps_s, default=None)


async def stream_request(connection: Connection, path: str, body: bytes, *, timeout_s: float) -> RequestResult:
    """Send one request and read its stream to the end. Whatever goes wrong is in the result."""
    started = perf_counter()
    stream = _Stream()
    failure = await _failure_of(connection, path, body, stream, timeout_s)
    if failure is not None:
        connection.close()  # what is left of the answer must not be taken for the next one's
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
        return Failure("timeout", f"no end after {timeout_s:g} s, {len(stream.text_at)} chunks with text")
    except ConnectionFailed as error:
        return Failure("connection", str(error))


async def _read(response: Response, stream: _Stream) -> Failure | None:
    if response.status != 200:
        return Failure(f"HTTP {response.status}", told(await response.read()))
    content_type = response.headers.get("content-type", "")
    if not content_type.startswith("text/event-stream"):
        return Failure("not a stream", f"the answer is {content_type or 'of no type'}, not text/event-stream")
    async with aclosing(response.pieces()) as pieces:
        async for piece in pieces:
            if failure := stream.feed(piece, perf_counter()):
                return failure
    if stream.done_at is None:
        return Failure("no [DONE]", f"the stream ended after {len(stream.text_at)} chunks with text")
    return None


@dataclass(slots=True)
class _Stream:
    """The stream of one answer as it arrives."""

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
        # Usage comes with every chunk, with the last or in one of its own, by server: the last one counts.
        self.usage = chunk.usage or self.usage
        for choice in chunk.choices or ():
            self.finish_reason = choice.finish_reason or self.finish_reason
            if choice.has_text:
                self.text_at.append(now)
        return None
