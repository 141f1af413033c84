"""Malformed HTTP and JSON: a clear 4xx or a closed connection, never a 500, and other requests are served."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crossette.testing.fake_engine import FakeEngine
from crossette.testing.fake_tokenizer import FakeTokenizer
from support.api_server import LIMIT_S, PREFIXES, ApiServer, parrot, say, serving

pytestmark = pytest.mark.slow

BODY = {"model": "fake", "prompt": say("Hello"), "max_tokens": 50}
GOOD = json.dumps(BODY).encode()
HEAD = b"POST /v1/completions HTTP/1.1\r\nhost: a\r\n"


@pytest.fixture(scope="module")
def server() -> Iterator[ApiServer]:
    with serving(FakeEngine(parrot, context_length=512)) as started:
        yield started
        started.wait_until_idle()


def exchange(server: ApiServer, sent: bytes) -> bytes:
    """The complete response to these bytes, after which nothing is sent."""
    with server.connect() as connection:
        received = b""
        with suppress(ConnectionError):
            connection.sendall(sent)
            connection.settimeout(2)  # the server waits for an incomplete request, which has a limit of its own
            with suppress(TimeoutError):
                while piece := connection.recv(65536):
                    received += piece
        return received


def statuses(received: bytes) -> list[int]:
    return [int(part[:3]) for part in received.split(b"HTTP/1.1 ")[1:] if part[:3].isdigit()]


def assert_alive(server: ApiServer) -> None:
    assert server.post("/v1/completions", BODY).json()["choices"][0]["text"] == "Hello"


def with_length(length: bytes, body: bytes = GOOD) -> bytes:
    return HEAD + b"connection: close\r\ncontent-length: " + length + b"\r\n\r\n" + body


SIZE = str(len(GOOD)).encode()
CHUNKED = HEAD + b"connection: close\r\ntransfer-encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "sent",
    [
        with_length(b"-1"),
        with_length(b"1e2"),
        with_length(b"\xb2"),
        with_length(b"9" * 5000),
        with_length(b"99999999999999999999"),
        with_length(SIZE + b"\r\ncontent-length: 5"),
        with_length(SIZE + b"\r\ntransfer-encoding: chunked"),
        with_length(str(len(GOOD) - 5).encode()),
        CHUNKED + b"zz\r\n" + GOOD,
        CHUNKED + b"-5\r\n" + GOOD + b"\r\n0\r\n\r\n",
        CHUNKED + b"ffffffffffffffffff\r\n" + GOOD,
        CHUNKED + b"5\r\n" + GOOD + b"\r\n0\r\n\r\n",
        b"POST /v1/completions HTTP/9.9\r\nhost: a\r\n\r\n",
        b"POST /v1/completions\r\n\r\n",
        b"PO\x00ST /v1/completions HTTP/1.1\r\n\r\n",
        b"GET /v1/models/\x80 HTTP/1.1\r\nhost: a\r\n\r\n",
        b"GET " + b"/" * 30_000 + b"x HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
        b"GET http://[ HTTP/1.1\r\nhost: a\r\n\r\n",
        HEAD + b"x-bad\x00name: 1\r\n\r\n",
        HEAD + b" folded: 1\r\n\r\n",
    ],
    ids=lambda sent: repr(sent[:70]),
)
def test_invalid_http_is_rejected(server: ApiServer, sent: bytes) -> None:
    answered = statuses(exchange(server, sent))

    assert [status for status in answered if not 400 <= status < 500] == []
    assert_alive(server)


@pytest.mark.parametrize(
    "path",
    ["%00", "%ff%fe", "%2e%2e/%2e%2e/etc/passwd", "a" * 5000, "%", "%zz", "a?%00", "\\", "a%0d%0ax-evil: 1"],
)
def test_unusual_paths_are_404s_that_reveal_no_file(server: ApiServer, path: str) -> None:
    received = exchange(server, f"GET /v1/models/{path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n".encode())

    assert set(statuses(received)) <= {400, 404}
    assert b"\r\nx-evil" not in received
    assert_alive(server)


@pytest.mark.parametrize(
    ("field", "status"), [("prompt", 400), ("model", 404), ("unknown", 400), ("user", 400), ("stop", 400)]
)
def test_a_string_of_ten_megabytes_is_rejected(server: ApiServer, prefix: str, field: str, status: int) -> None:
    answer = server.post(f"{prefix}/completions", BODY | {field: "x" * 10_000_000})

    assert (answer.status_code, len(answer.content) < 10_000) == (status, True)
    assert_alive(server)


@pytest.mark.parametrize("endpoint", ["completions", "chat/completions"])
def test_long_texts_are_encoded_outside_the_event_loop(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise all streams would stall meanwhile."""
    threads: list[threading.Thread] = []
    encode = FakeTokenizer.encode

    def noting(self: FakeTokenizer, text: str, *, specials: bool) -> list[int]:
        if len(text) > 10**6:
            threads.append(threading.current_thread())
        return encode(self, text, specials=specials)

    monkeypatch.setattr(FakeTokenizer, "encode", noting)
    text = "x" * 5_000_000
    prompt = {"prompt": text} if endpoint == "completions" else {"messages": [{"role": "user", "content": text}]}
    with serving() as api:
        assert api.post(f"/v1/{endpoint}", {"model": "fake", **prompt}).status_code == 400
        loops = [thread for thread in threading.enumerate() if thread.name.startswith("Thread-")]

    assert threads
    assert set(threads).isdisjoint(loops)


def test_pipelined_requests_are_all_answered_in_order(server: ApiServer) -> None:
    texts = [f"answer {number}" for number in range(50)]
    sent = b""
    for text in texts:
        body = json.dumps(BODY | {"prompt": say(text)}).encode()
        sent += HEAD + f"content-length: {len(body)}\r\n\r\n".encode() + body

    received = exchange(server, sent)

    assert statuses(received) == [200] * 50
    places = [received.index(f'"text":"{text}"'.encode()) for text in texts]
    assert places == sorted(places)


# --- at random; --fuzz N for N times as many ---

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just(10**400) | st.just("\ud800"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
_FIELDS = (
    *("model", "prompt", "messages", "max_tokens", "temperature", "stop", "n", "stream", "stream_options", "logprobs"),
    *("logit_bias", "response_format", "guided_json", "guided_regex", "tools", "metadata", "prediction", "seed"),
)
_CUT = st.tuples(st.integers(0, 200), st.integers(0, 5), st.binary(max_size=6))
"""Position, number of bytes to remove, and bytes to insert."""


def mutated(whole: bytes, cuts: list[tuple[int, int, bytes]]) -> bytes:
    for position, length, piece in cuts:
        position %= len(whole) + 1
        whole = whole[:position] + piece + whole[position + length :]
    return whole


@pytest.mark.parametrize("endpoint", ["completions", "chat/completions"])
def test_any_json_is_answered_or_rejected(server: ApiServer, fuzz: int, endpoint: str) -> None:
    start = BODY if endpoint == "completions" else {"model": "fake", "messages": [{"role": "user", "content": "a"}]}

    @settings(max_examples=100 * fuzz, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.dictionaries(st.sampled_from(_FIELDS), _JSON, max_size=3), st.sampled_from(PREFIXES))
    def post(fields: dict[str, object], prefix: str) -> None:
        answer = server.post(f"{prefix}/{endpoint}", json.dumps(start | fields).encode("utf-8", "surrogatepass"))
        assert answer.status_code in (200, 400, 404), answer.text

    post()
    assert_alive(server)


@pytest.mark.parametrize("kind", ["body", "all"])
def test_any_bytes_are_answered_or_rejected(server: ApiServer, fuzz: int, kind: str) -> None:
    whole = HEAD + b"content-length: " + SIZE + b"\r\n\r\n" + GOOD

    @settings(max_examples=150 * fuzz, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(_CUT, min_size=1, max_size=4))
    def send(cuts: list[tuple[int, int, bytes]]) -> None:
        if kind == "body":
            assert server.post("/v1/completions", mutated(GOOD, cuts)).status_code in (200, 400, 404)
            return
        with server.connect() as connection, suppress(ConnectionError):
            connection.sendall(mutated(whole, cuts))
            connection.shutdown(socket.SHUT_WR)
            connection.settimeout(LIMIT_S)
            received = b"".join(iter(lambda: connection.recv(65536), b""))
            assert [status for status in statuses(received) if status >= 500] == []

    send()
    assert_alive(server)


@pytest.mark.parametrize(
    "number", [2**64, -(2**64), 10**25, 10**400, -(10**400)], ids=["2e19", "-2e19", "1e25", "1e400", "-1e400"]
)
@pytest.mark.parametrize("ok", [{"metadata": "x"}, {"logit_bias": 1}], ids=lambda ok: next(iter(ok)))
def test_a_map_with_too_large_a_number_names_its_key(
    api: ApiServer, prefix: str, ok: dict[str, object], number: int
) -> None:
    ((field, value),) = ok.items()
    answer = api.post(f"{prefix}/completions", BODY | {field: {"1": value, "2": number}})

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, f"{field}.2")
