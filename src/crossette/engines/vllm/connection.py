"""An HTTP request on a connection of its own, which is closed to end the request.

httpx does not suit here: until its client is closed, it keeps a connection whose request was cancelled while it was
being opened.
"""

from __future__ import annotations

import asyncio
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from urllib.parse import SplitResult

import httptools

from crossette.certificates import client_context
from crossette.urls import split_http

_CONNECT_TIMEOUT_S = 10.0
_READ_SIZE = 1 << 13
"""Bytes of a read: about 30 tokens, so that a reader that falls behind ends its choice soon after the first ones."""


class ConnectionFailed(Exception):
    """The server is unreachable, disconnects early, or does not speak HTTP."""


class Response:
    """A response that arrives from `reader`. The methods `on_…` are httptools' callbacks."""

    def __init__(self, reader: StreamReader) -> None:
        self.status = 0
        """0 until the head has arrived."""
        self._reader = reader
        self._parser = httptools.HttpResponseParser(self)
        self._pieces: list[bytes] = []
        self._is_delimited = False
        self._is_complete = False

    async def read_head(self) -> None:
        """Raises ConnectionFailed or OSError, as the other methods do."""
        while not self.status:
            await self._receive()

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """The body as it arrives."""
        while True:
            if self._pieces:
                yield b"".join(self._pieces)
                self._pieces.clear()
            if self._is_complete:
                return
            await asyncio.sleep(0)  # a read of what has arrived already does not let other tasks run
            await self._receive()

    async def read(self) -> bytes:
        """The rest of the body."""
        return b"".join([piece async for piece in self.pieces()])

    async def _receive(self) -> None:
        data = await self._reader.read(_READ_SIZE)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            raise ConnectionFailed(f"it does not speak HTTP: {error}") from error
        if not data:
            if not self.status or self._is_delimited:
                raise ConnectionFailed("it closed the connection early")
            self._is_complete = True

    # --- called by httptools ---

    def on_header(self, name: bytes, value: bytes) -> None:
        self._is_delimited |= name.lower() in (b"content-length", b"transfer-encoding")

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        self.status = status if status >= 200 else 0  # others announce the response

    def on_body(self, data: bytes) -> None:
        self._pieces.append(data)

    def on_message_complete(self) -> None:
        self._is_complete = bool(self.status)


@asynccontextmanager
async def post(url: str, headers: Mapping[str, str], body: bytes) -> AsyncIterator[Response]:
    """Send JSON to a URL. The connection is closed with the context.

    Raises ConnectionFailed, also in the context.
    """
    try:
        parts = split_http(url)
        async with _connection(parts) as (reader, writer):
            writer.write(_head(parts, headers, len(body)) + body)
            await writer.drain()
            response = Response(reader)
            await response.read_head()
            yield response
    except OSError as error:
        raise ConnectionFailed(str(error) or type(error).__name__) from error


@asynccontextmanager
async def _connection(parts: SplitResult) -> AsyncIterator[tuple[StreamReader, StreamWriter]]:
    """A connection, which is closed wherever its task is cancelled.

    TLS begins once TCP is connected: asyncio loses a connection that is cancelled between the two.
    """
    is_tls = parts.scheme == "https"
    async with AsyncExitStack() as stack:
        async with asyncio.timeout(_CONNECT_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port or (443 if is_tls else 80))
            stack.callback(lambda: writer.transport.abort())  # without waiting: the event loop may end
            if is_tls:
                await writer.start_tls(client_context(parts.scheme), server_hostname=parts.hostname)
        yield reader, writer


def _head(parts: SplitResult, headers: Mapping[str, str], length: int) -> bytes:
    fields = {
        "host": parts.netloc.rpartition("@")[2],
        "content-type": "application/json",
        "content-length": str(length),
        "accept-encoding": "identity",
        "connection": "close",
        **headers,
    }
    lines = [f"POST {parts.path or '/'} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()
