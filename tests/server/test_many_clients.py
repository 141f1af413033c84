"""Hundreds of well-behaved and misbehaving clients of a server process: all are served, and nothing leaks."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import socket
import struct
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest

from support.api_server import say
from support.server_process import LIMIT_S, Census, ServerProcess, running

pytestmark = pytest.mark.slow

NUM_CLIENTS = 500
PATHS = ("/v1/completions", "/inference/v1/chat/completions")


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with running() as started:
        asyncio.run(served(started, 0))  # some objects are created for the first connection and kept
        yield started


@pytest.fixture
def idle(server: ServerProcess) -> Iterator[Census]:
    """The census of the idle server, which must be the same after the test."""
    server.control("resume")
    census = server.idle_census()
    yield census
    server.control("resume")
    server.wait_until_nothing_is_left(census)


def request_of(path: str, text: str, *, streamed: bool = True) -> bytes:
    prompt = {"messages": [{"role": "user", "content": text}]} if "chat" in path else {"prompt": text}
    body = json.dumps({"model": "fake", "max_tokens": 1000, "stream": streamed, **prompt}).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def open_and_send(server: ServerProcess, text: str, path: str = PATHS[0]) -> socket.socket:
    connection = socket.create_connection(server.address, timeout=LIMIT_S)
    connection.sendall(request_of(path, text))
    return connection


async def served(server: ServerProcess, number: int) -> str:
    """Send a request and read the response: "served" for its own text, else the response."""
    text = f"client {number} sends " + "x" * (number % 50)
    path, streamed = PATHS[number % 2], number % 3 > 0
    reader, writer = await asyncio.open_connection(*server.address)
    try:
        writer.write(request_of(path, say(text), streamed=streamed))
        head = await reader.readuntil(b"\r\n\r\n")
        body = await reader.read()
        received = _stream_text(body) if streamed else _whole_text(body)
        return "served" if head.startswith(b"HTTP/1.1 200 ") and received == text else f"{head!r} {received!r}"
    finally:
        writer.close()
        await writer.wait_closed()


def _stream_text(body: bytes) -> str:
    """The text of a stream in chunked encoding; fails for an incomplete stream."""
    data = b"".join(part for part in body.split(b"\r\n")[1::2])
    *frames, last, rest = data.split(b"\n\n")
    assert (last, rest) == (b"data: [DONE]", b"")
    choices = [choice for frame in frames for choice in json.loads(frame[6:])["choices"]]
    return "".join(choice.get("text") or choice.get("delta", {}).get("content") or "" for choice in choices)


def _whole_text(body: bytes) -> str:
    (choice,) = json.loads(body)["choices"]
    text: str = choice["text"] if "text" in choice else choice["message"]["content"]
    return text


async def _all_served(server: ServerProcess, num_clients: int) -> Counter[str]:
    asking = (asyncio.wait_for(served(server, number), LIMIT_S) for number in range(num_clients))
    return Counter(await asyncio.gather(*asking))


def test_500_clients_at_once_are_all_served(server: ServerProcess, idle: Census) -> None:
    assert asyncio.run(_all_served(server, NUM_CLIENTS)) == {"served": NUM_CLIENTS}


async def _disconnect_anywhere(server: ServerProcess, number: int) -> None:
    """Send a request or a part of it, read a part of the response or nothing, and disconnect in various ways."""
    chance = random.Random(number)
    reader, writer = await asyncio.open_connection(*server.address)
    whole = request_of(PATHS[number % 2], say("x" * 900))
    writer.write(whole[: chance.choice((5, 60, len(whole) - 1, len(whole), len(whole)))])
    if chance.random() < 0.5:
        await asyncio.sleep(chance.random() / 10)  # somewhere between the queue and the middle of the stream
    if chance.random() < 0.3:
        writer.write_eof()
        await reader.read()
    elif chance.random() < 0.5:
        writer.transport.abort()
        return
    writer.close()
    await writer.wait_closed()


def test_clients_that_disconnect_anywhere_do_not_affect_others_or_leak(server: ServerProcess, idle: Census) -> None:
    async def mixed() -> Counter[str]:
        vanishing = asyncio.gather(*(_disconnect_anywhere(server, number) for number in range(NUM_CLIENTS)))
        counted = await _all_served(server, 50)
        await asyncio.wait_for(vanishing, LIMIT_S)
        return counted

    assert asyncio.run(mixed()) == {"served": 50}


@pytest.mark.parametrize(("phase", "num_steps"), [("queued", 0), ("prefilling", 1), ("streaming", 5)])
def test_a_disconnect_frees_everything_without_a_further_step(
    server: ServerProcess, idle: Census, phase: str, num_steps: int
) -> None:
    """A half-closed socket counts as a disconnect too: HTTP has no other signal."""
    server.control("pause")
    with ExitStack() as clients:
        connections = [clients.enter_context(open_and_send(server, say("x" * 900))) for _ in range(21)]
        begun = server.wait_for(lambda load: load.waiting == len(connections)).steps
        for _ in range(num_steps):
            server.control("step")
        server.wait_for(lambda load: load.steps == begun + num_steps)
        for number, connection in enumerate(connections):
            disconnect(connection, ("close", "reset", "half")[number % 3])
        free = server.wait_for(lambda load: (load.running, load.waiting, load.blocks) == (0, 0, 0))

    assert free.steps == begun + num_steps


def disconnect(connection: socket.socket, ending: str) -> None:
    if ending == "half":
        connection.shutdown(socket.SHUT_WR)
        return
    if ending == "reset":  # as when a process dies with unread data
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def test_clients_that_read_nothing_do_not_delay_others_or_leak(server: ServerProcess, idle: Census) -> None:
    with ExitStack() as clients:
        for _ in range(50):
            clients.enter_context(open_and_send(server, say("x" * 900)))
        assert asyncio.run(_all_served(server, 100)) == {"served": 100}


def test_idle_connections_do_not_delay_others(server: ServerProcess, idle: Census) -> None:
    with ExitStack() as clients:
        for sent in [
            b"",
            b"POST /v1/comp",
            b"POST /v1/completions HTTP/1.1\r\nhost: a\r\ncontent-length: 99\r\n\r\n{",
        ] * 60:
            connection = clients.enter_context(socket.create_connection(server.address, timeout=LIMIT_S))
            connection.sendall(sent)
        assert asyncio.run(_all_served(server, 100)) == {"served": 100}


def test_repeated_rounds_of_clients_do_not_leak(server: ServerProcess, idle: Census) -> None:
    for _ in range(3):
        assert asyncio.run(_all_served(server, 200)) == {"served": 200}
        server.wait_until_nothing_is_left(idle)


def test_sigterm_under_load_completes_all_started_requests() -> None:
    """Running and queued requests are completed; the process exits with status 0."""

    async def load(server: ServerProcess) -> Counter[str]:
        clients = asyncio.gather(*(served(server, number) for number in range(100)))
        await asyncio.to_thread(server.wait_for, lambda load: load.waiting == 100)
        server.control("step")
        await asyncio.to_thread(server.wait_for, lambda load: (load.running, load.waiting) == (16, 84))
        server.process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(_wait_until_refused, server.address)
        server.control("resume")
        return Counter(await asyncio.wait_for(clients, LIMIT_S))

    with running(max_sequences=16) as server:
        server.control("pause")
        counted = asyncio.run(load(server))
        status = server.process.wait(LIMIT_S)

    assert (counted, status) == ({"served": 100}, 0)


def _wait_until_refused(address: tuple[str, int]) -> None:
    """Return when the server does not listen any more."""
    with suppress(ConnectionRefusedError, ConnectionResetError):
        while True:
            socket.create_connection(address, timeout=LIMIT_S).close()
