"""HTTP connections over real sockets: responses in order, or an error and a closed connection."""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import re
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from crossette.server import connection
from crossette.server.connection import BoundedProtocol
from crossette.server.joined_head import JoinedHead
from crossette.testing.fake_engine import FakeEngine
from support.api_server import LIMIT_S, ApiServer, has, parrot, say, serving

BODY = json.dumps({"model": "fake", "prompt": say("Hello"), "max_tokens": 50}).encode()
STREAM = json.dumps({"model": "fake", "prompt": say("Hello"), "max_tokens": 50, "stream": True}).encode()
INNER = b"GET /v1/models/SMUGGLED HTTP/1.1\r\nhost: a\r\n\r\n"
OFFERS = {
    "h2c": b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABk\r\n",
    "websocket": b"Connection: Upgrade\r\nUpgrade: websocket\r\n",
    "tls": b"upgrade: TLS/1.2\r\nconnection: keep-alive, upgrade\r\n",
    "none": b"",
}


@pytest.fixture(scope="module")
def server() -> Iterator[ApiServer]:
    with serving(FakeEngine(parrot, context_length=512)) as started:
        yield started
        started.wait_until_idle()


def post(body: bytes = BODY, lines: bytes = b"", version: bytes = b"1.1", path: str = "/v1/completions") -> bytes:
    head = f"POST {path} ".encode() + b"HTTP/%s\r\nHost: a\r\nContent-Length: %d\r\n" % (version, len(body))
    return head + lines + b"\r\n" + body


def received(client: socket.socket) -> bytes:
    """Receive until the server closes the connection."""
    client.settimeout(LIMIT_S)
    return b"".join(iter(lambda: client.recv(65536), b""))


def statuses(answers: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", answers)]


def wait_until_read(server: ApiServer) -> None:
    """Return when the server has read everything sent before on other connections."""
    for _ in range(2):
        assert server.get("/health/live").status_code == 200


@pytest.mark.parametrize("arrival", ["together", "apart", "byte by byte"])
@pytest.mark.parametrize("offer", OFFERS.values(), ids=OFFERS)
def test_the_body_of_a_request_with_an_upgrade_offer_is_parsed_as_its_body(
    server: ApiServer, prefix: str, offer: bytes, arrival: str
) -> None:
    with server.connect() as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sent = post(BODY, offer, path=f"{prefix}/completions")
        end = sent.index(b"\r\n\r\n") + 4
        if arrival == "apart":
            client.sendall(sent[:end])
            wait_until_read(server)
            client.sendall(sent[end:])
        else:
            for piece in [sent] if arrival == "together" else [bytes([byte]) for byte in sent]:
                client.sendall(piece)
        client.sendall(post(BODY, b"Connection: close\r\n"))
        answers = received(client)

    assert statuses(answers) == [200, 200]
    assert answers.count(b'"text":"Hello"') == 2
    assert b"upgrade" not in answers.lower()


@pytest.mark.parametrize("offer", OFFERS.values(), ids=OFFERS)
def test_a_body_that_looks_like_a_request_is_not_parsed_as_one(server: ApiServer, offer: bytes) -> None:
    with server.connect() as client:
        sent = post(INNER, offer)
        client.sendall(sent[: -len(INNER)])
        wait_until_read(server)
        client.sendall(INNER + post(BODY, b"Connection: close\r\n"))
        answers = received(client)

    assert statuses(answers) == [400, 200]
    assert b"SMUGGLED" not in answers


BROKEN = {
    "head": b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
    "no host": b"GET /v1/models HTTP/1.1\r\n\r\n",
    "chunk": b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "noise": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}


@pytest.mark.parametrize("ahead", [0, 1, 3])
@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_a_malformed_request_is_answered_in_order_and_ends_the_connection(
    server: ApiServer, broken: bytes, ahead: int
) -> None:
    with server.connect() as client:
        client.sendall(post(STREAM) * ahead + broken + INNER)
        answers = received(client)

    assert statuses(answers) == [200] * ahead + [400]
    assert answers.count(b"data: [DONE]") == ahead
    assert b"SMUGGLED" not in answers
    head, _, body = answers.rpartition(b"\r\n\r\n")
    assert b"connection: close" in head
    error = json.loads(body)["error"]
    assert (error["type"], error["code"], bool(error["message"])) == ("invalid_request_error", None, True)


def test_a_malformed_chunk_ends_a_request_without_a_response_yet(server: ApiServer) -> None:
    with server.connect() as client:
        client.sendall(BROKEN["chunk"].removesuffix(b"zz\r\n"))
        wait_until_read(server)
        client.sendall(b"zz\r\n")
        assert statuses(received(client)) == [400]


def test_a_head_that_is_too_large_is_a_431(server: ApiServer) -> None:
    with server.connect() as client:
        client.sendall(b"GET /v1/models HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 70_000 + b"\r\n\r\n" + INNER)
        answers = received(client)

    assert statuses(answers) == [431]
    assert b"larger than 65536 bytes" in answers


def test_a_malformed_request_is_not_logged(server: ApiServer, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        for sent in (*BROKEN.values(), post(BODY, OFFERS["h2c"] + b"Connection: close\r\n")):
            with server.connect() as client:
                client.sendall(sent)
                client.shutdown(socket.SHUT_WR)
                received(client)

    lines = {record.getMessage() for record in caplog.records if record.name in ("uvicorn.error", "asyncio")}
    assert lines == set()
    assert all(record.levelno <= logging.INFO for record in caplog.records)


@pytest.mark.parametrize("body", [BODY, STREAM], ids=["whole", "streamed"])
def test_http_1_0_clients_get_no_chunks(server: ApiServer, prefix: str, body: bytes) -> None:
    with server.connect() as client:
        client.sendall(post(body, b"Expect: 100-continue\r\n", b"1.0", f"{prefix}/completions"))
        answers = received(client)

    head, _, text = answers.partition(b"\r\n\r\n")
    assert statuses(answers) == [200]
    assert b"transfer-encoding" not in head.lower()
    if body is STREAM:
        assert text.startswith(b"data: {")
        assert text.endswith(b"data: [DONE]\n\n")
        assert b"content-length" not in head
    else:
        assert json.loads(text)["choices"][0]["text"] == "Hello"


@pytest.mark.parametrize("path", ["/v1/models", "/nowhere", "/health/live", "/docs"])
def test_http_1_0_clients_need_no_host(server: ApiServer, path: str) -> None:
    with server.connect() as client:
        client.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        head, _, body = received(client).partition(b"\r\n\r\n")

    length = re.search(rb"content-length: (\d+)", head)
    assert length
    assert int(length[1]) == len(body)


@pytest.mark.slow
def test_a_head_timeout_does_not_abort_earlier_responses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEAD_TIMEOUT_S", 0.02)
    engine = FakeEngine(parrot, context_length=512)
    with serving(engine) as api, api.connect() as client:
        engine.pause()
        client.sendall(post() * 2 + b"POST /v1/completions HT")
        engine.wait_for(has(waiting=1))
        wait_until_late(api)
        engine.resume()
        answers = received(client)

    assert statuses(answers) == [200, 200]


def wait_until_late(api: ApiServer) -> None:
    """Return when a head that another connection begins now has timed out: earlier ones have as well."""
    with api.connect() as late:
        late.sendall(b"GET /")
        assert received(late) == b""


def test_a_disconnect_ends_the_running_request_and_those_after_it(caplog: pytest.LogCaptureFixture) -> None:
    engine = FakeEngine(context_length=100_000, tokens_per_step=1)
    endless = {"model": "fake", "prompt": "go on", "max_tokens": 90_000, "ignore_eos": True, "stream": True}
    with serving(engine) as api:
        with api.connect() as client:
            client.sendall(post(json.dumps(endless).encode()) * 3)
            engine.wait_for(has(running=1))
        engine.wait_for(has(running=0, waiting=0), LIMIT_S)
        api.observed.wait_for(1)

    assert engine.stats().completion_tokens < 90_000
    assert [record.status for record in api.observed.records] == [499]
    assert all(record.levelno <= logging.INFO for record in caplog.records)


class WritesKept:
    """A transport that keeps what is written to it."""

    def __init__(self, transport: asyncio.Transport, writes: list[bytes]) -> None:
        self._transport = transport
        self._writes = writes

    def write(self, data: bytes) -> None:
        self._writes.append(data)
        self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What servers of this test write to their connections, each write apart."""
    written: list[bytes] = []
    connect = BoundedProtocol.connection_made

    def connection_made(self: BoundedProtocol, transport: asyncio.Transport) -> None:
        connect(self, WritesKept(transport, written))  # type: ignore[arg-type]  # it has all of the transport's members

    monkeypatch.setattr(BoundedProtocol, "connection_made", connection_made)
    return written


def test_a_head_is_written_with_what_follows_it_at_once(server: ApiServer, writes: list[bytes], prefix: str) -> None:
    with server.connect() as client:
        client.sendall(post(path=f"{prefix}/completions") + post(STREAM, b"Connection: close\r\n"))
        answers = received(client)

    whole, *parts = writes
    assert b"".join(writes) == answers
    assert statuses(whole) == [200]
    assert whole.endswith(b"}")
    assert statuses(parts[0]) == [200]
    assert parts[0].count(b"data: {") == 1
    assert not any(statuses(part) for part in parts[1:])


@pytest.mark.parametrize("num_choices", [1, 2])
def test_the_last_chunk_is_written_with_the_end_that_follows_it_at_once(
    server: ApiServer, writes: list[bytes], prefix: str, num_choices: int
) -> None:
    body = json.loads(STREAM) | {"n": num_choices, "stream_options": {"include_usage": True}}
    with server.connect() as client:
        client.sendall(post(json.dumps(body).encode(), b"Connection: close\r\n", path=f"{prefix}/completions"))
        received(client)

    reasons = [part.count(b'"finish_reason":"stop"') for part in writes if b'"finish_reason":"' in part]
    assert reasons == [1] * num_choices
    assert b'"finish_reason":"' in writes[-1]
    assert writes[-1].endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")


def test_a_head_without_a_body_yet_is_written_alone(writes: list[bytes]) -> None:
    with serving(FakeEngine(parrot, context_length=512), first_byte_timeout=0.01) as api:
        api.engine.pause()
        with api.connect() as client:
            client.sendall(post(STREAM, b"Connection: close\r\n"))
            client.settimeout(LIMIT_S)
            head = client.recv(65536)
            assert writes == [head]
            assert head.endswith(b"\r\n\r\n")
            api.engine.resume()
            assert b"[DONE]" in received(client)


def test_a_head_follows_an_interim_response_and_bodies_that_are_left_out(
    server: ApiServer, writes: list[bytes]
) -> None:
    with server.connect() as client:
        request = post(BODY, b"Expect: 100-continue\r\n")
        client.sendall(request[: -len(BODY)])
        client.settimeout(LIMIT_S)
        assert client.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(BODY + b"HEAD /health/live HTTP/1.1\r\nHost: a\r\n\r\n" + post(BODY, b"Connection: close\r\n"))
        answers = received(client)

    assert b"".join(writes[1:]) == answers
    assert len(statuses(answers)) == 3


def test_the_overridden_members_of_uvicorn_exist() -> None:
    """The members of uvicorn's protocol are not public: each new release must be reviewed before it is allowed."""
    overridden = {name for name in vars(BoundedProtocol) if hasattr(HttpToolsProtocol, name)}
    private = {name for name in overridden if name.startswith("_") and not name.startswith("__")}

    assert private == {"_start_asgi_task"}
    assert str(inspect.signature(HttpToolsProtocol._start_asgi_task)) == (
        "(self, cycle: 'RequestResponseCycle', app: 'ASGI3Application') -> 'None'"
    )
    assert overridden - private == {
        *("__init__", "__module__", "__doc__", "connection_made", "connection_lost", "data_received"),
        *("on_headers_complete", "on_message_complete", "on_response_complete"),
        *("pause_writing", "resume_writing", "timeout_keep_alive_handler"),
    }
    for name in ("parser", "cycle", "pipeline", "flow", "transport", "loop", "client", "server_state"):
        assert f"self.{name}" in inspect.getsource(HttpToolsProtocol)
    source = inspect.getsource(RequestResponseCycle)
    for name in ("disconnected", "message_event", "keep_alive", "chunked_encoding", "expected_content_length"):
        assert f"self.{name} = " in source
    called = {*re.findall(r"self\.transport\.(\w+)\(", source)}
    assert called == {name for name in vars(JoinedHead) if not name.startswith("_")}
