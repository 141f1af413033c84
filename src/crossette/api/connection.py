"""Bounds on what a connection is held for.

uvicorn has none for heads without end, for bodies that go on behind their answer, nor for clients that never read.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_TIMEOUT_S = 10.0
MAX_HEAD_BYTES = 64 * 2**10
REST_TIMEOUT_S = 5.0
"""For the rest of a body that was answered before it had come: closing at once could cost the client the answer."""
READ_TIMEOUT_S = 60.0
"""As long as the fireworks SDK waits for a server that says nothing."""


class BoundedProtocol(HttpToolsProtocol):
    """Closes a connection whose headers take over ten seconds or 64 KiB, or whose client reads nothing for a minute.

    Also one whose request's body still comes five seconds behind the answer; one that ends by then is for the next
    request.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn types it
        super().connection_made(transport)
        self._head_timer: asyncio.TimerHandle | None = None
        self._read_timer: asyncio.TimerHandle | None = None
        self._rest_timer: asyncio.TimerHandle | None = None
        self._is_body_open = False
        self._begin_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_head()
        self._end_reading()
        self._end_rest()
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
        if self._head_timer is not None:
            seen = max(0, len(self._head) - 3)  # the end may be cut
            self._head += data
            end = self._head.find(b"\r\n\r\n", seen)  # what follows it is the body
            if (len(self._head) if end < 0 else end) > MAX_HEAD_BYTES:
                self.transport.close()
                return
        super().data_received(data)

    def on_message_begin(self) -> None:
        if self._head_timer is None:
            self._begin_head()
        super().on_message_begin()

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

    def _end_rest(self) -> None:
        if self._rest_timer is not None:
            self._rest_timer.cancel()
            self._rest_timer = None

    def _is_idle(self) -> bool:
        """Whether all requests so far have come whole and are answered, and no head has begun."""
        is_answered = self.cycle is not None and self.cycle.response_complete
        return is_answered and not self._is_body_open and self._head_timer is None

    def _begin_head(self) -> None:
        self._head = bytearray()
        self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self.timeout_keep_alive_handler)

    def _end_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
