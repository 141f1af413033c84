"""The head of a response in one write with what follows it at once: alone it would be a system call more."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle


class JoinedHead:
    """The transport of a response until its head is sent.

    The head waits for the first part of the body until the event loop's next turn, and the transport itself gets all
    that follows.
    """

    def __init__(
        self, cycle: RequestResponseCycle, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._cycle = cycle
        self._transport = transport
        self._loop = loop
        self._head = b""

    def write(self, data: bytes) -> None:
        if not self._cycle.response_started:  # 100 Continue
            self._transport.write(data)
        elif self._head:
            self._send(data)
        else:
            self._head = data
            self._loop.call_soon(self._send)

    def _send(self, first: bytes = b"") -> None:
        if self._head:
            head, self._head = self._head, b""
            self._cycle.transport = self._transport
            self._transport.write(head + first)

    def close(self) -> None:
        self._send()
        self._transport.close()

    def is_closing(self) -> bool:
        return self._transport.is_closing()
