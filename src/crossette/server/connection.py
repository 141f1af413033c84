"""One connection: its requests, one answer to each in their order, and bounds on what it is held for.

uvicorn has no bounds for heads without end, for bodies that go on behind their answer, nor for clients that never
read. It answers a request that breaks HTTP ahead of those before it, and sends chunks to clients of HTTP/1.0.
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
from crossette.api.http import error_body
from crossette.errors import InvalidRequest
from crossette.server.request_head import BadRequest
from crossette.server.request_parser import RequestParser

log = logging.getLogger(__name__)

HEAD_TIMEOUT_S = 10.0
REST_TIMEOUT_S = 5.0
"""For the rest of a body that was answered before it had come: closing at once could cost the client the answer."""
READ_TIMEOUT_S = 60.0
"""As long as the fireworks SDK waits for a server that says nothing."""


Application = Callable[..., Awaitable[None]]


class BoundedProtocol(HttpToolsProtocol):
    """Answers requests in order; closes a connection whose headers take over ten seconds or 64 KiB, or whose client
    reads nothing for a minute.

    Also one whose request's body still comes five seconds behind the answer; one that ends by then is for the next
    request. What breaks HTTP is answered with a 400 (or 431) in its turn, and nothing behind it is read.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # Any: uvicorn's own arguments
        super().__init__(*args, **kwargs)
        self._requests = RequestParser(self)
        self.parser = self._requests  # type: ignore[assignment]  # it has what uvicorn calls of httptools' parser

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn types it
        super().connection_made(transport)
        self._head_timer: asyncio.TimerHandle | None = None
        self._read_timer: asyncio.TimerHandle | None = None
        self._rest_timer: asyncio.TimerHandle | None = None
        self._is_body_open = False
        self._running: RequestResponseCycle | None = None
        """The request that is being answered; `cycle` is the newest one."""
        self._refusal: bytes | None = None
        """The answer to what broke HTTP, until all requests before it are answered."""
        self._begin_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_head()
        self._end_reading()
        self._end_rest()
        self._disconnect_running()  # uvicorn tells the newest request alone
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_reading()

    def resume_writing(self) -> None:
        self._end_reading()
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection; one with bytes that its client never reads would stay open behind that."""
        super().timeout_keep_alive_handler()
        self._watch_reading()

    def _watch_reading(self, unread: int | None = None) -> None:
        """Cut the connection off if what waits to be read is no less than it was the last time."""
        waiting = self.transport.get_write_buffer_size()
        if unread is not None and waiting >= unread:
            self.transport.abort()
            return
        self._end_reading()
        if waiting:
            self._read_timer = self.loop.call_later(READ_TIMEOUT_S, self._watch_reading, waiting)

    def _end_reading(self) -> None:
        if self._read_timer is not None:
            self._read_timer.cancel()
            self._read_timer = None

    def data_received(self, data: bytes) -> None:
        if self._is_idle():
            self._begin_head()  # line ends before a head are no beginning to the parser
        super().data_received(data)
        if self._head_timer is None and self._requests.is_head_open:
            self._begin_head()

    def on_headers_complete(self) -> None:
        self._end_head()
        self._is_body_open = True
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._is_body_open = False
        if self._rest_timer is not None:
            self._end_rest()
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        # Only the newest request can have more to come: one behind it could not have begun.
        if self._is_body_open and self.cycle.response_complete and not self.transport.is_closing():
            self._rest_timer = self.loop.call_later(REST_TIMEOUT_S, self.timeout_keep_alive_handler)
        self._refuse_in_turn()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Application) -> None:
        """Begin to answer a request."""
        self._running = cycle
        if cycle.scope["http_version"] == "1.0":
            cycle.waiting_for_100_continue = False  # RFC 9110, 10.1.1
            app = without_chunks(app, cycle)
        super()._start_asgi_task(cycle, app)

    def on_bad_request(self, error: BadRequest) -> None:
        """Answer what broke HTTP once all requests before it are answered, and read no more."""
        self._end_head()
        log.debug("Refused bytes of %s: %s", self.client, error.message)
        self._refusal = self._answer_to(error)
        if self._is_body_open:
            self._drop_newest()
        self._refuse_in_turn()

    def _drop_newest(self) -> None:
        """The newest request will never be whole."""
        self._is_body_open = False
        if self.pipeline and self.pipeline[0][0] is self.cycle:
            self.pipeline.popleft()
            self.cycle = self.pipeline[0][0] if self.pipeline else self._running  # type: ignore[assignment]
        elif self.cycle.response_started:  # the one answer is this
            self._refusal = None
            self.cycle.keep_alive = False
            if self.cycle.response_complete:
                self.transport.close()
        else:
            self._disconnect_running()

    def _disconnect_running(self) -> None:
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()

    def _owes_answers(self) -> bool:
        running = self._running
        return bool(self.pipeline) or (
            running is not None and not running.response_complete and not running.disconnected
        )

    def _refuse_in_turn(self) -> None:
        if self._refusal is None or self._owes_answers() or self.transport.is_closing():
            return
        self.transport.write(self._refusal)
        self._refusal = None
        if self.transport.can_write_eof():  # to close at once may cost a client that still sends the answer
            self.transport.write_eof()
            self._rest_timer = self.loop.call_later(REST_TIMEOUT_S, self.timeout_keep_alive_handler)
        else:
            self.transport.close()

    def _answer_to(self, error: BadRequest) -> bytes:
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

    def _end_rest(self) -> None:
        if self._rest_timer is not None:
            self._rest_timer.cancel()
            self._rest_timer = None

    def _is_idle(self) -> bool:
        """Whether all requests so far have come whole and are answered, and no head has begun."""
        is_answered = self.cycle is not None and self.cycle.response_complete
        return is_answered and not self._is_body_open and self._head_timer is None

    def _begin_head(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self._end_late_head)

    def _end_late_head(self) -> None:
        if self._owes_answers():  # nothing may have been read meanwhile
            self._begin_head()
        else:
            self.timeout_keep_alive_handler()

    def _end_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


def without_chunks(app: Application, cycle: RequestResponseCycle) -> Application:
    """`app` for a client of HTTP/1.0, which knows no chunks: an answer of no declared length ends with the connection.

    RFC 9112, 6.1 and 6.3. The cycle closes connections of HTTP/1.0 behind their answer anyway.
    """

    async def answer(scope: Any, receive: Any, send: Any) -> None:  # Any: ASGI, as uvicorn types it
        is_bare = False

        async def send_bare(message: Any) -> None:
            nonlocal is_bare
            if message["type"] == "http.response.start":
                is_bare = all(name.lower() != b"content-length" for name, _ in message["headers"])
                cycle.chunked_encoding = False if is_bare else None  # None: as the headers say
            elif is_bare:
                cycle.expected_content_length = len(message.get("body", b""))
            await send(message)

        await app(scope, receive, send_bare)

    return answer
