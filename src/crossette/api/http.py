"""JSON responses and event streams; disconnects; errors before and during a stream."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from crossette.api.exchange import Exchange
from crossette.api.wire import Wire, frame
from crossette.errors import EngineFailure, ServingError
from crossette.settings import Count, Interval, Seconds, setting

log = logging.getLogger(__name__)

T = TypeVar("T")


class ClientDisconnected(Exception):
    """The client disconnected, so that no response is possible."""


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """Limits of requests, and timeouts of streams."""

    max_body_bytes: Count = setting(
        16 * 2**20, "Reject a request with 413 if its body has more bytes.", unset=f"{16 * 2**20}, which is 16 MiB"
    )
    max_messages: Count = setting(2048, "Reject a conversation of more messages with 400.")
    max_images: Count = setting(16, "Reject a conversation of more images with 400, for a model that sees.")
    image_host: tuple[str, ...] = setting(
        (),
        "Fetch images of messages from this host, given as NAME or NAME:PORT. Repeatable. Its addresses must be"
        " public.",
        metavar="HOST",
        unset="none: images are sent as data URLs",
    )
    max_schema_bytes: Count = setting(
        2**20,
        "Reject a request with 400 if its schema, pattern or grammar, or its list of tools, has more bytes of JSON.",
        unset=f"{2**20}, which is 1 MiB",
    )
    max_attempts: Count = setting(
        4,
        "Sample an answer at most this many times until it is valid, where its schema has keywords that no grammar can"
        " enforce.",
    )
    first_byte_timeout: Seconds = setting(
        15.0,
        "Seconds that a stream waits for its first token before it sends status 200. Until then an error still has its"
        " own status.",
    )
    comment_interval: Interval = setting(
        15.0, "Seconds of silence after which a stream sends a comment line, so that proxies keep it open."
    )


def json_response(content: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(content), status, headers, media_type="application/json")


class EventStream(Response):
    """A response of server-sent events. It ends as `wire` says, or with the event that `failure` makes of an error.

    Status and headers wait for the first chunk, so that an early failure has its own status; after
    `first_byte_timeout` they are sent alone. `late_headers` is called at that moment. A disconnect closes `chunks`.
    `close` is always called at the end, possibly twice: closing a generator that was never iterated runs none of it.
    """

    def __init__(
        self,
        chunks: AsyncGenerator[Any, None],
        close: Callable[[], Awaitable[None]],
        wire: Wire,
        failure: Callable[[ServingError], Any],
        settings: HttpSettings,
        late_headers: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        super().__init__(media_type="text/event-stream")
        self.headers["cache-control"] = "no-cache"
        self.headers["x-accel-buffering"] = "no"
        del self.headers["content-length"]
        self._chunks = chunks
        self._close = close
        self._wire = wire
        self._failure = failure
        self._settings = settings
        self._late_headers = late_headers
        self._quiet = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await cancel_on_disconnect(receive, self._run(send, Exchange.of(scope)))
        finally:
            await self._close()

    async def _run(self, send: Send, exchange: Exchange) -> None:
        async with aclosing(self._chunks):
            first = asyncio.ensure_future(anext(self._chunks, None))
            try:
                await asyncio.wait({first}, timeout=self._settings.first_byte_timeout)
                if first.done():
                    first.result()  # raises an early failure, with its own status
                self.headers.update(self._late_headers())
                await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
                await self._send_chunks(first, send, exchange)
            finally:  # a running generator cannot be closed
                first.cancel()
                await asyncio.gather(first, return_exceptions=True)

    async def _send_chunks(self, first: asyncio.Future[Any], send: Send, exchange: Exchange) -> None:
        """Send everything after the headers. A failure is sent as a frame, as the status is sent already."""
        commenting = asyncio.create_task(self._send_comments(send))
        try:
            chunk = await first
            if chunk is not None:
                await _send_frame(send, frame(chunk))
            async for chunk in self._chunks:
                self._quiet = False
                await _send_frame(send, frame(chunk))
            last = self._wire.end
        except Exception as error:
            exchange.error = as_serving_error(error)
            last = frame(self._failure(exchange.error))
        finally:
            commenting.cancel()
        await self._close()  # before the end is sent, as the client may then send its next request
        if last:
            await _send_frame(send, last)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_comments(self, send: Send) -> None:
        """Send a comment, or what the wire format has for it, after every interval in which nothing else was sent."""
        while True:
            self._quiet = True
            await asyncio.sleep(self._settings.comment_interval)
            if self._quiet:
                await _send_frame(send, self._wire.keep_alive)


async def _send_frame(send: Send, data: bytes) -> None:
    await send({"type": "http.response.body", "body": data, "more_body": True})


def as_serving_error(error: Exception) -> ServingError:
    """The error itself; an unexpected one is logged and replaced by an error without details."""
    if isinstance(error, ServingError):
        return error
    log.error("A request failed unexpectedly", exc_info=error)
    return EngineFailure(
        "The server failed while answering this request. Retry it, or report its request id to the administrator."
    )


async def cancel_on_disconnect(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """Await `work`, and cancel it if the client disconnects, which an ASGI application must detect itself.

    Raises ClientDisconnected in that case. The request's body must already be read.
    """
    working = asyncio.ensure_future(work)
    watching = asyncio.ensure_future(_disconnect(receive))
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientDisconnected
    finally:
        for task in (working, watching):
            task.cancel()
        await asyncio.gather(working, watching, return_exceptions=True)


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
