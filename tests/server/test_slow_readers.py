"""Clients that do not read their responses: they do not delay others, and are disconnected."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from crossette.server import connection
from crossette.server.connection import BoundedProtocol
from crossette.testing.fake_engine import FakeEngine
from support.api_server import LIMIT_S, ApiServer, has, say, serving

ENDLESS = {"model": "fake", "prompt": "go on", "max_tokens": 90_000, "ignore_eos": True, "stream": True}
BODY = {"model": "fake", "prompt": say("Hello"), "max_tokens": 50}


def begin_unread(api: ApiServer, path: str, body: object) -> socket.socket:
    """Send a request whose response is never read, with the smallest socket buffer."""
    reader = socket.socket()
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    reader.settimeout(LIMIT_S)
    reader.connect(api.address)
    content = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: {len(content)}\r\n\r\n"
    reader.sendall(head.encode() + content)
    return reader


def long_engine() -> FakeEngine:
    return FakeEngine(context_length=100_000, tokens_per_step=1)


@pytest.mark.slow
def test_a_client_that_never_reads_is_disconnected_and_its_blocks_are_freed(
    prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "READ_TIMEOUT_S", 0.05)
    with serving(long_engine()) as api, begin_unread(api, f"{prefix}/completions", ENDLESS) as reader:
        api.engine.wait_for(has(running=1))
        api.engine.wait_for(has(running=0, waiting=0), LIMIT_S)
        assert api.post(f"{prefix}/completions", BODY | {"prompt": "x"}).status_code == 200
        received = b""
        with suppress(ConnectionResetError):
            while piece := reader.recv(2**20):
                received += piece
    assert received.startswith(b"HTTP/1.1 200 OK")
    assert not received.endswith(b"0\r\n\r\n")
    assert b"[DONE]" not in received
    assert api.engine.stats().completion_tokens < 90_000


class _Loop:
    """A loop whose timers the test fires."""

    def __init__(self) -> None:
        self.timers: list[tuple[Callable[..., None], tuple[Any, ...]]] = []

    def call_later(self, delay: float, call: Callable[..., None], *args: Any) -> _Loop:
        self.timers.append((call, args))
        return self

    def cancel(self) -> None:
        """Cancel the timer that has just fired."""

    def fire(self) -> None:
        call, args = self.timers.pop()
        call(*args)


class _Transport:
    """A write buffer that the test fills and empties."""

    def __init__(self) -> None:
        self.unread = 0
        self.is_aborted = False

    def get_write_buffer_size(self) -> int:
        return self.unread

    def abort(self) -> None:
        self.is_aborted = True


@pytest.mark.parametrize(("read", "is_aborted"), [(0, True), (1, False), (500, False), (1000, False)])
def test_a_client_that_reads_anything_stays_connected(read: int, is_aborted: bool) -> None:
    protocol, loop, transport = BoundedProtocol.__new__(BoundedProtocol), _Loop(), _Transport()
    protocol.loop, protocol.transport = loop, transport  # type: ignore[assignment]
    protocol._read_timer = None
    transport.unread = 1000
    protocol._watch_unread()
    while loop.timers and not transport.is_aborted and transport.unread > 998:
        transport.unread -= read
        loop.fire()

    assert transport.is_aborted is is_aborted
