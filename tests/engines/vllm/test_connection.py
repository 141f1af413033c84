"""Requests on connections of their own: responses cut anywhere, and requests that are cancelled anywhere."""

from __future__ import annotations

import asyncio
import gc
import ssl
import threading
import warnings
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import pairwise
from typing import Any

import pytest
import trustme
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from crossette.engines.vllm import connection
from crossette.engines.vllm.connection import ConnectionFailed, post

LIMIT_S = 60
NUM_ROUNDS = 4
MAX_TURNS = 60
"""More turns of the event loop than the client's side of a request takes, if they last PAUSE_S."""
PAUSES_S = (0, 0.0001)

CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\n\r\n"
SIZED = b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nabcdefg"
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\n\r\nabcdefg"
ANNOUNCED = b"HTTP/1.1 100 Continue\r\n\r\n" + SIZED


def run(work: Coroutine[Any, Any, Any], new_loop: Callable[[], asyncio.AbstractEventLoop] | None = None) -> Any:
    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(asyncio.wait_for(work, LIMIT_S))


class Server:
    """Answers every request with the same pieces, each in a turn of its own, and closes the connection."""

    def __init__(self, pieces: Sequence[bytes], tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[bytes] = []
        self.url = ""
        self._pieces = pieces
        self._tls = tls

    async def __aenter__(self) -> Server:
        self._server = await asyncio.start_server(self._answer, "127.0.0.1", 0, ssl=self._tls)
        scheme = "http" if self._tls is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/path"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.requests.append(head + await reader.readexactly(4))
            for piece in self._pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
            writer.close()
            await writer.wait_closed()
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client has disconnected
        finally:
            writer.transport.abort()


async def answer(server: Server) -> tuple[int, bytes]:
    async with post(server.url, {"x-key": "k"}, b"body") as response:
        return response.status, await response.read()


async def answered(pieces: Sequence[bytes]) -> tuple[int, bytes]:
    async with Server(pieces) as server:
        return await answer(server)


def cut(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    bounds = [0, *sorted(at % len(data) for at in cuts), len(data)]
    return [data[start:end] for start, end in pairwise(bounds)]


@pytest.mark.parametrize("message", [CHUNKED, SIZED, UNTIL_CLOSE, ANNOUNCED])
@given(cuts=st.lists(st.integers(0, 200), max_size=8))
def test_a_response_does_not_depend_on_its_pieces(message: bytes, cuts: list[int]) -> None:
    assert run(answered(cut(message, cuts))) == (200, b"abcdefg")


def test_the_request_is_complete() -> None:
    async def work() -> bytes:
        async with Server([SIZED]) as server:
            await answer(server)
            return server.requests[0].replace(server.url.split("/")[2].encode(), b"HOST")

    head, _, body = run(work()).partition(b"\r\n\r\n")
    line, *fields = head.split(b"\r\n")

    assert (line, body) == (b"POST /path HTTP/1.1", b"body")
    assert {b"host: HOST", b"content-length: 4", b"connection: close", b"x-key: k"} <= set(fields)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (CHUNKED[:-5], "closed the connection early"),
        (SIZED[:-1], "closed the connection early"),
        (SIZED[:20], "closed the connection early"),
        (b"", "closed the connection early"),
        (b"SSH-2.0-OpenSSH\r\n", "does not speak HTTP"),
        (b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n", "does not speak HTTP"),
        (CHUNKED.replace(b"3\r\n", b"zz\r\n"), "does not speak HTTP"),
    ],
)
def test_a_broken_response_is_a_failed_connection(message: bytes, reason: str) -> None:
    with pytest.raises(ConnectionFailed, match=reason):
        run(answered([message]))


def test_an_unreachable_server_is_a_failed_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(url: str) -> None:
        async with post(url, {}, b""):
            pass

    with pytest.raises(ConnectionFailed, match="Connect call failed"):
        run(work("http://127.0.0.1:1/"))
    monkeypatch.setattr(connection, "_CONNECT_TIMEOUT_S", 0)
    with pytest.raises(ConnectionFailed, match="TimeoutError"):
        run(work("http://127.0.0.1:1/"))


@contextmanager
def in_thread(server: Server) -> Iterator[Server]:
    """Run a server in an event loop of its own, which outlives those of the requests."""
    ready, done = threading.Event(), threading.Event()

    async def work() -> None:
        async with server:
            ready.set()
            await asyncio.to_thread(done.wait, LIMIT_S)

    thread = threading.Thread(target=run, args=(work(),))
    thread.start()
    assert ready.wait(LIMIT_S)
    yield server
    done.set()
    thread.join()


async def cancel_after(server: Server, turns: int, pause_s: float) -> bool:
    """Cancel a request after some turns of the event loop. Whether it was not complete."""
    task = asyncio.create_task(answer(server))
    for _ in range(turns):
        await asyncio.sleep(pause_s)
        if task.done():
            break
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    return task.cancelled()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize("is_tls", [False, True])
def test_no_connection_is_lost_wherever_its_request_is_cancelled(
    new_loop: Callable[[], asyncio.AbstractEventLoop],
    is_tls: bool,
    authority: trustme.CA,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also if the event loop ends at once."""
    server_tls = client_tls = None
    if is_tls:
        server_tls, client_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
        authority.issue_cert("127.0.0.1").configure_cert(server_tls)
        authority.configure_trust(client_tls)
        monkeypatch.setattr(connection, "client_context", lambda scheme: client_tls)

    server = Server(cut(CHUNKED, range(0, len(CHUNKED), 9)), server_tls)
    with in_thread(server), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        cancelled = [
            run(cancel_after(server, turns, pause_s), new_loop)
            for turns in [*range(MAX_TURNS), 50_000] * NUM_ROUNDS
            for pause_s in PAUSES_S
        ]
        gc.collect()

    assert [str(warning.message) for warning in caught] == []
    assert cancelled[:3] == [True] * 3
    assert False in cancelled
