"""JSON responses and event streams; disconnects; errors before and during a stream."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping
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


_STREAM_HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
)


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
    `first_byte_timeout` they are sent alone. `late_headers` is called at that moment. Chunks that come once `is_ending`
    are sent with the end, for which nothing more is waited. A disconnect closes `chunks`.
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
        is_ending: Callable[[], bool] = lambda: False,
    ) -> None:
        self.raw_headers = list(_STREAM_HEADERS)
        self._chunks = chunks
        self._close = close
        self._wire = wire
        self._failure = failure
        self._settings = settings
        self._late_headers = late_headers
        self._is_ending = is_ending
        self._is_quiet = True
        self._has_head = False
        """Whether status and headers were sent."""
        self._timer: asyncio.TimerHandle | None = None
        self._filler: asyncio.Task[None] | None = None
        """Sends what ends a silence: status and headers, or a comment."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange.of(scope)
        try:
            await cancel_on_disconnect(receive, self._run(send, exchange))
        finally:
            await self._close()

    async def _run(self, send: Send, exchange: Exchange) -> None:
        self._listen(self._settings.first_byte_timeout, send, exchange)
        try:
            await self._send_all(send, exchange)
        finally:
            self._end_silence()
            await self._chunks.aclose()

    async def _send_all(self, send: Send, exchange: Exchange) -> None:
        """Send everything. A failure after the status is an event; one before it is raised, for its own status."""
        send_body, is_ending = exchange.send_body, self._is_ending
        last = b""
        try:
            async for chunk in self._chunks:
                if self._filler is not None or not self._has_head:
                    await self._begin(send, exchange)
                self._is_quiet = False
                if is_ending():
                    last += frame(chunk)
                else:
                    await send_body({"type": "http.response.body", "body": frame(chunk), "more_body": True})
            last += self._wire.end
        except Exception as error:
            if self._filler is None and not self._has_head:
                raise
            exchange.error = as_serving_error(error)
            last += frame(self._failure(exchange.error))
        await self._begin(send, exchange)
        self._end_silence()
        await self._close()  # before the end is sent, as the client may then send its next request
        await send_body({"type": "http.response.body", "body": last, "more_body": False})

    async def _begin(self, send: Send, exchange: Exchange) -> None:
        """Send status and headers, unless they are sent; what ends a silence comes first."""
        if self._filler is not None:
            filler, self._filler = self._filler, None
            await filler
        if not self._has_head:
            await self._send_head(send, exchange)

    async def _send_head(self, send: Send, exchange: Exchange) -> None:
        late = [(name.lower().encode("latin-1"), text.encode("latin-1")) for name, text in self._late_headers().items()]
        await send({"type": "http.response.start", "status": 200, "headers": [*self.raw_headers, *late]})
        self._has_head = True
        self._listen(self._settings.comment_interval, send, exchange)

    def _listen(self, seconds: float, send: Send, exchange: Exchange) -> None:
        """Look after some seconds whether anything was sent."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._look, send, exchange)

    def _look(self, send: Send, exchange: Exchange) -> None:
        if self._is_quiet:
            self._filler = asyncio.get_running_loop().create_task(self._fill(send, exchange))
        else:
            self._is_quiet = True
            self._listen(self._settings.comment_interval, send, exchange)

    async def _fill(self, send: Send, exchange: Exchange) -> None:
        """End a silence with status and headers, or with a comment, or what the wire format has for it."""
        if not self._has_head:
            await self._send_head(send, exchange)
            return
        await exchange.send_body({"type": "http.response.body", "body": self._wire.keep_alive, "more_body": True})
        self._listen(self._settings.comment_interval, send, exchange)

    def _end_silence(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._filler is not None:
            self._filler.cancel()


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
    task, watching = asyncio.current_task(), asyncio.create_task(_disconnect(receive))
    assert task is not None
    is_over = is_gone = False

    def cancel(ended: asyncio.Task[None]) -> None:
        nonlocal is_gone
        if not ended.cancelled():
            ended.exception()  # an error of `receive` is a disconnect too
            if not is_over:
                is_gone = True
                task.cancel()

    watching.add_done_callback(cancel)
    try:
        return await work
    except asyncio.CancelledError:
        if is_gone and not task.uncancel():  # else somebody cancelled the task as well
            raise ClientDisconnected from None
        raise
    finally:
        is_over = True
        watching.cancel()


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
