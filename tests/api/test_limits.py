"""Limits of a connection: sizes and timeouts of heads and bodies; and the shutdown of the server."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from contextlib import suppress

import httpx
import pytest

from crossette.api import request_body
from crossette.server import connection
from crossette.testing.fake_engine import FakeEngine
from support.api_server import DIALECTS, LIMIT_S, ApiServer, cut_short, has, parrot, say, serving

BODY = {"model": "fake", "prompt": say("Hello"), "max_tokens": 50}
LONG = {"model": "fake", "prompt": say("x" * 500), "max_tokens": 1000, "stream": True}


def rest_of(connected: socket.socket) -> bytes:
    """All bytes until the server closes the connection."""
    received = b""
    while True:
        try:
            piece = connected.recv(65536)
        except ConnectionResetError:
            return received
        if not piece:
            return received
        received += piece


def response_of(connected: socket.socket) -> bytes:
    """A whole response, which may come in several pieces. It has a length."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += connected.recv(10_000)
    head, _, body = received.partition(b"\r\n\r\n")
    (length,) = re.findall(rb"content-length: (\d+)", head)
    while len(body) < int(length):
        piece = connected.recv(10_000)
        received, body = received + piece, body + piece
    return received


def assert_alive(api: ApiServer) -> None:
    assert api.post("/v1/completions", BODY).json()["choices"][0]["text"] == "Hello"


# --- bodies ---


def padded(size: int) -> bytes:
    """A valid body of this many bytes."""
    body = json.dumps(BODY).encode()
    return body + b" " * (size - len(body))


def test_a_body_of_exactly_the_limit_is_accepted(prefix: str) -> None:
    with serving(max_body_bytes=1000) as api:
        assert api.post(f"{prefix}/completions", padded(1000)).status_code == 200


@pytest.mark.parametrize("path", ["completions", "chat/completions"])
@pytest.mark.parametrize("size", [1001, 300_000])
@pytest.mark.parametrize("declared", [True, False], ids=["content-length", "chunked"])
def test_a_body_over_the_limit_is_a_413(prefix: str, path: str, size: int, declared: bool) -> None:
    def pieces() -> Iterator[bytes]:
        whole = padded(size)
        for at in range(0, size, 500):
            yield whole[at : at + 500]

    with serving(max_body_bytes=1000) as api:
        answer = api.http.post(api.url(f"{prefix}/{path}"), content=padded(size) if declared else pieces())
        assert_alive(api)

    error = answer.json()["error"]
    assert (answer.status_code, error["type"], error["code"]) == (413, *DIALECTS[prefix].errors["too_large"])
    assert "the limit is 1000" in error["message"]
    assert "--max-body-bytes" in api.observed.records[0].hint


def test_a_declared_length_over_the_limit_is_rejected_before_the_body_arrives(prefix: str) -> None:
    with serving(max_body_bytes=1000) as api, api.connect() as connected:
        head = f"POST {prefix}/completions HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999999\r\n\r\n"
        connected.sendall(head.encode())
        assert connected.recv(100).startswith(b"HTTP/1.1 413 ")


@pytest.mark.slow
def test_a_body_that_stalls_is_a_408_and_the_connection_is_closed(prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_body, "_GRACE_S", 0.05)
    with serving() as api, api.connect() as connected:
        head = f"POST {prefix}/completions HTTP/1.1\r\nhost: a\r\ncontent-length: 500\r\n\r\n{{"
        connected.sendall(head.encode())
        head_of_answer, _, body = rest_of(connected).partition(b"\r\n\r\n")
        assert_alive(api)

    error = json.loads(body)["error"]
    assert head_of_answer.startswith(b"HTTP/1.1 408 ")
    assert (error["type"], error["code"]) == DIALECTS[prefix].errors["timeout"]
    assert "1 bytes so far" in error["message"]


@pytest.mark.slow
def test_the_deadline_of_a_body_extends_as_it_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a grace period, the received bytes alone extend the deadline."""
    monkeypatch.setattr(request_body, "_GRACE_S", 0.05)
    monkeypatch.setattr(request_body, "_BYTES_PER_S", 1e-3)
    content = json.dumps(BODY).encode()
    with serving() as api, api.connect() as connected:
        head = f"POST /v1/completions HTTP/1.1\r\nhost: a\r\ncontent-length: {len(content)}\r\n\r\n"
        connected.sendall(head.encode() + content[:-1])
        connected.settimeout(0.2)  # four times the grace period: no response is due by then
        with pytest.raises(TimeoutError):
            connected.recv(100)
        connected.settimeout(LIMIT_S)
        connected.sendall(content[-1:])
        assert connected.recv(100).startswith(b"HTTP/1.1 200 ")


REFUSED = {
    "404": "POST /v1/nowhere HTTP/1.1\r\nhost: a\r\n",
    "413": "POST /v1/completions HTTP/1.1\r\nhost: a\r\n",
    "403": "POST /v1/completions HTTP/1.1\r\nhost: a\r\norigin: https://evil.example\r\n",
}


@pytest.mark.parametrize("status", [*REFUSED])
@pytest.mark.parametrize("trickled", [b"x", b"x" * 70_000], ids=["a-byte", "much"])
def test_a_body_that_continues_after_its_response_is_cut_off(
    status: str, trickled: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "REST_TIMEOUT_S", 0.05)
    with serving() as api, api.connect() as connected:
        connected.sendall(f"{REFUSED[status]}content-length: 1000000000000\r\n\r\n".encode())
        assert response_of(connected).startswith(f"HTTP/1.1 {status} ".encode())
        with suppress(BrokenPipeError, ConnectionResetError):
            connected.sendall(trickled)
        assert rest_of(connected) == b""
        assert_alive(api)


@pytest.mark.slow
def test_a_chunked_body_is_cut_off_after_its_response(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "REST_TIMEOUT_S", 0.05)
    with serving() as api, api.connect() as connected:
        connected.sendall(f"{REFUSED['404']}transfer-encoding: chunked\r\n\r\n".encode())
        assert response_of(connected).startswith(b"HTTP/1.1 404 ")
        with suppress(BrokenPipeError, ConnectionResetError):
            connected.sendall(b"1\r\nx\r\n")
        assert rest_of(connected) == b""


def test_a_connection_whose_body_ends_soon_after_the_response_is_kept(prefix: str) -> None:
    content = json.dumps(BODY).encode()
    with serving() as api, api.connect() as connected:
        connected.sendall(f"{REFUSED['404']}content-length: 300000\r\n\r\n".encode())
        assert response_of(connected).startswith(b"HTTP/1.1 404 ")
        connected.sendall(b"x" * 300_000)
        head = f"POST {prefix}/completions HTTP/1.1\r\nhost: a\r\ncontent-length: {len(content)}\r\n\r\n"
        connected.sendall(head.encode() + content)
        assert connected.recv(100).startswith(b"HTTP/1.1 200 ")


@pytest.mark.slow
def test_a_connection_whose_body_ended_after_the_response_has_an_idle_timeout() -> None:
    with serving() as api:
        api.server.config.timeout_keep_alive = 1
        with api.connect() as connected:
            connected.sendall(f"{REFUSED['404']}content-length: 1000\r\n\r\n".encode())
            assert response_of(connected).startswith(b"HTTP/1.1 404 ")
            connected.sendall(b"x" * 1000)
            assert rest_of(connected) == b""


def test_an_error_after_a_complete_body_leaves_the_connection_open(prefix: str) -> None:
    """Clients retry on the same connection."""
    requests: tuple[tuple[str, dict[str, object]], ...] = (("nowhere", {}), ("completions", {}), ("completions", BODY))
    with serving() as api, api.one_connection() as ask:
        statuses = [ask(f"{prefix}/{path}", body) for path, body in requests]

    assert statuses == [404, 400, 200]


# --- heads ---


@pytest.mark.parametrize("sent", [b"", b"GET /v1/mod", b"GET /v1/models HTTP/1.1\r\nhost: a\r\nx-slow: "])
def test_a_head_that_does_not_end_is_cut_off(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEAD_TIMEOUT_S", 0.05)
    with serving() as api, api.connect() as connected:
        connected.sendall(sent)
        assert rest_of(connected) == b""
        monkeypatch.undo()
        assert_alive(api)


@pytest.mark.slow
def test_a_second_head_on_a_connection_has_the_same_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEAD_TIMEOUT_S", 0.2)
    with serving() as api, api.connect() as connected:
        connected.sendall(b"GET /health/live HTTP/1.1\r\nhost: a\r\n\r\n")
        assert connected.recv(1000).startswith(b"HTTP/1.1 200 ")
        connected.sendall(b"GET /health/live HTTP/1.1\r\nhost: a\r\nx-slow: ")
        assert rest_of(connected) == b""


@pytest.mark.slow
def test_line_breaks_before_a_second_head_do_not_hold_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEAD_TIMEOUT_S", 0.2)
    with serving() as api, api.connect() as connected:
        connected.sendall(b"GET /health/live HTTP/1.1\r\nhost: a\r\n\r\n")
        assert connected.recv(1000).startswith(b"HTTP/1.1 200 ")
        connected.sendall(b"\r\n")
        assert rest_of(connected) == b""


@pytest.mark.slow
def test_the_timeout_of_heads_does_not_apply_to_answers(prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEAD_TIMEOUT_S", 0.05)
    engine = FakeEngine(parrot)
    engine.pause()
    with (
        serving(engine, first_byte_timeout=0.01, comment_interval=0.05) as api,
        api.http.stream("POST", api.url(f"{prefix}/completions"), json=BODY | {"stream": True}) as answer,
    ):
        lines = answer.iter_lines()
        assert [next(lines) for _ in range(6)] == [":", ""] * 3  # three times the timeout of a head
        engine.resume()
        assert list(lines)[-2:] == ["data: [DONE]", ""]


@pytest.mark.parametrize("ends", [False, True], ids=["endless", "complete"])
def test_a_head_over_64_kib_is_rejected_and_cut_off(ends: bool) -> None:
    with serving() as api, api.connect() as connected:
        head = b"GET /health/live HTTP/1.1\r\nhost: a\r\nx-big: " + b"x" * 300_000 + b"\r\n\r\n" * ends
        with suppress(BrokenPipeError, ConnectionResetError):  # closed while it was sent
            connected.sendall(head)
        assert rest_of(connected).startswith(b"HTTP/1.1 431 ")
        assert_alive(api)


def test_a_head_under_64_kib_with_a_large_body_is_accepted(prefix: str) -> None:
    content = json.dumps(BODY).encode() + b" " * 200_000
    with serving() as api:
        answer = api.post(f"{prefix}/completions", content, {"x-big": "x" * 60_000})

    assert answer.status_code == 200


@pytest.mark.parametrize(
    "sent",
    [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"\x00" * 100, b"hello\r\n\r\n", b"GET \xff HTTP/1.1\r\n\r\n"],
)
def test_bytes_that_are_not_http_get_an_error_and_the_server_survives(sent: bytes) -> None:
    with serving() as api, api.connect() as connected:
        connected.sendall(sent)
        received = rest_of(connected)
        assert_alive(api)

    assert received.startswith((b"HTTP/1.1 400 ", b""))
    assert b"Traceback" not in received


def test_a_websocket_upgrade_is_rejected_and_the_server_survives() -> None:
    headers = {
        "connection": "upgrade",
        "upgrade": "websocket",
        "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
        "sec-websocket-version": "13",
    }
    with serving() as api:
        assert api.get("/v1/realtime", headers).status_code == 404
        assert_alive(api)


# --- shutdown ---


@pytest.mark.slow
def test_draining_rejects_new_requests_and_finishes_running_ones(prefix: str) -> None:
    engine = FakeEngine(parrot)
    engine.pause()
    with serving(engine) as api, api.begin(f"{prefix}/completions", BODY) as running:
        engine.wait_for(has(waiting=1))
        api.app.drain()
        refused = [api.post(f"{prefix}/completions", BODY | {"stream": streamed}) for streamed in (False, True)]
        ready, live = api.get("/health/ready"), api.get("/health/live")
        engine.resume()
        answer = b""
        while piece := running.recv(10_000):
            answer += piece
            if answer.endswith(b"}}}"):  # the end of usage, which ends the body
                break

    for response in refused:
        error = response.json()["error"]
        expected = (503, *DIALECTS[prefix].errors["overloaded"])
        assert (response.status_code, error["type"], error["code"]) == expected
        assert (response.headers["retry-after"], response.headers["retry-after-ms"]) == ("5", "5000")
    assert (ready.status_code, ready.json()["status"], live.status_code) == (503, "draining", 200)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b'"text":"Hello"' in answer


def test_an_engine_that_closes_ends_streams_with_an_error_frame(prefix: str) -> None:
    engine = FakeEngine(parrot)
    engine.pause()
    with (
        serving(engine, first_byte_timeout=0.01) as api,
        api.http.stream("POST", api.url(f"{prefix}/completions"), json=LONG) as answer,
    ):
        engine.close()
        (only,) = cut_short(answer.read())

    assert (only["error"]["type"], only["error"]["code"]) == DIALECTS[prefix].errors["overloaded"]
    assert "shutting down" in only["error"]["message"]


def test_an_engine_that_closes_ends_requests_without_a_stream_with_a_503(prefix: str) -> None:
    engine = FakeEngine(parrot)
    engine.pause()
    with serving(engine) as api, api.begin(f"{prefix}/completions", BODY) as running:
        engine.wait_for(has(waiting=1))
        engine.close()
        assert running.recv(100).startswith(b"HTTP/1.1 503 ")


def test_a_server_that_stops_finishes_running_streams(prefix: str) -> None:
    engine = FakeEngine(parrot)
    engine.pause()
    with (
        serving(engine, first_byte_timeout=0.01) as api,
        api.http.stream("POST", api.url(f"{prefix}/completions"), json=LONG) as answer,
    ):
        api.server.should_exit = True
        _wait_until_closed(api)
        engine.resume()
        assert answer.read().endswith(b"data: [DONE]\n\n")


def test_after_the_drain_timeout_streams_end_with_an_error_frame(prefix: str) -> None:
    engine = FakeEngine(parrot)
    engine.pause()
    with (
        serving(engine, first_byte_timeout=0.01, drain_timeout=0.05) as api,
        api.http.stream("POST", api.url(f"{prefix}/completions"), json=LONG) as answer,
    ):
        api.server.should_exit = True
        (only,) = cut_short(answer.read())

    assert only["error"]["code"] == DIALECTS[prefix].errors["overloaded"][1]


def _wait_until_closed(api: ApiServer) -> None:
    """Wait until the port is closed."""
    while True:
        try:
            api.connect().close()
        except (ConnectionRefusedError, ConnectionResetError):
            return


@pytest.mark.slow
def test_an_aborted_connection_is_released() -> None:
    engine = FakeEngine(parrot)
    engine.pause()
    with serving(engine) as api:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(api.url("/v1/completions"), json=BODY, timeout=0.1)
        api.wait_until_idle()
