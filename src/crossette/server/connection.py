"""The HTTP protocol of a connection: uvicorn's, with responses in order and timeouts for slow clients.

uvicorn does not limit slow request heads, bodies that continue after the response, or clients that never read. It
responds to a malformed request before earlier ones, and sends chunks to HTTP/1.0 clients.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from crossette.api.dialect import OPENAI
from crossette.api.wire import error_body
from crossette.errors import InvalidRequest
from crossette.server.joined_head import JoinedHead
from crossette.server.request_head import BadRequest
from crossette.server.request_parser import RequestParser

log = logging.getLogger(__name__)

HEAD_TIMEOUT_S = 10.0
REST_TIMEOUT_S = 5.0
"""For the rest of a body after the response: closing at once could reset the connection before it is read."""
READ_TIMEOUT_S = 60.0
"""The read timeout of the fireworks SDK."""


Application = Callable[..., Awaitable[None]]


class BoundedProtocol(HttpToolsProtocol):
    """Responds to requests in order. Closes a connection whose headers take over ten seconds or 64 KiB, whose client
    reads nothing for a minute, or whose request body continues five seconds after the response.

    A malformed request gets a 400 (or 431) after the responses to earlier requests, and nothing after it is parsed.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # Any: uvicorn's own arguments
        super().__init__(*args, **kwargs)
        self._requests = RequestParser(self)
        self.parser = self._requests  # type: ignore[assignment]  # it has all methods of httptools' parser that uvicorn calls

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn types it
        super().connection_made(transport)
        self._head_timer: asyncio.TimerHandle | None = None
        self._read_timer: asyncio.TimerHandle | None = None
        self._rest_timer: asyncio.TimerHandle | None = None
        self._is_body_open = False
        self._running: RequestResponseCycle | None = None
        """The request that is being processed; `cycle` is the newest one."""
        self._error_response: bytes | None = None
        """The response to a malformed request, until it can be sent after the earlier ones."""
        self._start_head_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_head_timer()
        self._end_read_timer()
        self._end_rest_timer()
        self._disconnect_running()  # uvicorn notifies the newest request only
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_unread()

    def resume_writing(self) -> None:
        self._end_read_timer()
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection. With unread bytes in the write buffer it would stay open, so watch those."""
        super().timeout_keep_alive_handler()
        self._watch_unread()

    def _watch_unread(self, unread: int | None = None) -> None:
        """Abort the connection if its write buffer has not shrunk since the last call."""
        waiting = self.transport.get_write_buffer_size()
        if unread is not None and waiting >= unread:
            self.transport.abort()
            return
        self._end_read_timer()
        if waiting:
            self._read_timer = self.loop.call_later(READ_TIMEOUT_S, self._watch_unread, waiting)

    def _end_read_timer(self) -> None:
        if self._read_timer is not None:
            self._read_timer.cancel()
            self._read_timer = None

    def data_received(self, data: bytes) -> None:
        if self._is_idle():
            self._start_head_timer()  # the parser ignores empty lines before a head
        super().data_received(data)
        if self._head_timer is None and self._requests.is_head_open:
            self._start_head_timer()

    def on_headers_complete(self) -> None:
        self._end_head_timer()
        self._is_body_open = True
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._is_body_open = False
        if self._rest_timer is not None:
            self._end_rest_timer()
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        # Only the body of the newest request can be incomplete: requests are sequential.
        if self._is_body_open and self.cycle.response_complete and not self.transport.is_closing():
            self._rest_timer = self.loop.call_later(REST_TIMEOUT_S, self.timeout_keep_alive_handler)
        self._send_error_response()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Application) -> None:
        """Start processing a request."""
        self._running = cycle
        if cycle.scope["http_version"] == "1.0":
            cycle.waiting_for_100_continue = False  # RFC 9110, 10.1.1
            app = without_chunks(app, cycle)
        if cycle.scope["method"] != "HEAD":  # whose response has nothing that would follow the head
            cycle.transport = JoinedHead(cycle, self.transport, self.loop)  # type: ignore[assignment]  # all that it calls
        super()._start_asgi_task(cycle, app)

    def on_bad_request(self, error: BadRequest) -> None:
        """Queue the response to a malformed request, and parse nothing more."""
        self._end_head_timer()
        log.debug("Malformed request from %s: %s", self.client, error.message)
        self._error_response = self._render(error)
        if self._is_body_open:
            self._drop_newest()
        self._send_error_response()

    def _drop_newest(self) -> None:
        """Drop the newest request, whose body will never be complete."""
        self._is_body_open = False
        if self.pipeline and self.pipeline[0][0] is self.cycle:
            self.pipeline.popleft()
            self.cycle = self.pipeline[0][0] if self.pipeline else self._running  # type: ignore[assignment]
        elif self.cycle.response_started:  # its response is the only one
            self._error_response = None
            self.cycle.keep_alive = False
            if self.cycle.response_complete:
                self.transport.close()
        else:
            self._disconnect_running()

    def _disconnect_running(self) -> None:
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()

    def _has_pending_responses(self) -> bool:
        running = self._running
        return bool(self.pipeline) or (
            running is not None and not running.response_complete and not running.disconnected
        )

    def _send_error_response(self) -> None:
        if self._error_response is None or self._has_pending_responses() or self.transport.is_closing():
            return
        self.transport.write(self._error_response)
        self._error_response = None
        if self.transport.can_write_eof():  # closing at once could reset the connection before the client has read it
            self.transport.write_eof()
            self._rest_timer = self.loop.call_later(REST_TIMEOUT_S, self.timeout_keep_alive_handler)
        else:
            self.transport.close()

    def _render(self, error: BadRequest) -> bytes:
        request_id = f"req-{uuid.uuid4().hex}"
        body = msgspec.json.encode(error_body(InvalidRequest(error.message), OPENAI, request_id))
        headers = [
            *self.server_state.default_headers,
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
            (b"x-request-id", request_id.encode()),
        ]
        lines = [name + b": " + value + b"\r\n" for name, value in headers]
        return b"".join([STATUS_LINE[error.status], *lines, b"\r\n", body])

    def _end_rest_timer(self) -> None:
        if self._rest_timer is not None:
            self._rest_timer.cancel()
            self._rest_timer = None

    def _is_idle(self) -> bool:
        """Whether all requests are complete and answered, and no head has begun."""
        is_answered = self.cycle is not None and self.cycle.response_complete
        return is_answered and not self._is_body_open and self._head_timer is None

    def _start_head_timer(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self._on_head_timeout)

    def _on_head_timeout(self) -> None:
        if self._has_pending_responses():  # reading may have been paused meanwhile
            self._start_head_timer()
        else:
            self.timeout_keep_alive_handler()

    def _end_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


def without_chunks(app: Application, cycle: RequestResponseCycle) -> Application:
    """Wrap `app` for HTTP/1.0 clients, which do not support chunks: a response of unknown length ends at the close.

    RFC 9112, 6.1 and 6.3. The cycle closes HTTP/1.0 connections after the response.
    """

    async def answer(scope: Any, receive: Any, send: Any) -> None:  # Any: ASGI, as uvicorn types it
        is_unframed = False

        async def send_unchunked(message: Any) -> None:
            nonlocal is_unframed
            if message["type"] == "http.response.start":
                is_unframed = all(name.lower() != b"content-length" for name, _ in message["headers"])
                cycle.chunked_encoding = False if is_unframed else None  # None: determined by the headers
            elif is_unframed:
                cycle.expected_content_length = len(message.get("body", b""))
            await send(message)

        await app(scope, receive, send_unchunked)

    return answer
