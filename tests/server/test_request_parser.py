"""The request parser: strict framing of messages, however the bytes are split, or an error and nothing after it."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossette.server.request_head import BadRequest
from crossette.server.request_parser import MAX_HEAD_BYTES, RequestParser

INNER = b"GET /v1/models/SMUGGLED HTTP/1.1\r\nhost: a\r\n\r\n"
"""A body that looks like a request."""
START = b"POST /v1/completions HTTP/1.1\r\n"
HOST = b"Host: a\r\n"
LENGTH = b"Content-Length: %d\r\n" % len(INNER)
CHUNKED = b"Transfer-Encoding: chunked\r\n"
CHUNKS = b"%x\r\n%s\r\n0\r\n\r\n" % (len(INNER), INNER)
H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABk\r\n"


@dataclass
class Events:
    """The parser events of a connection: each request as its target, headers and body."""

    requests: list[tuple[bytes, list[tuple[bytes, bytes]], bytes]] = field(default_factory=list)
    errors: list[BadRequest] = field(default_factory=list)
    is_complete: bool = True

    def on_message_begin(self) -> None:
        assert self.is_complete, "a request began within another"
        self.is_complete = False

    def on_url(self, url: bytes) -> None:
        self.requests.append((url, [], b""))

    def on_header(self, name: bytes, value: bytes) -> None:
        self.requests[-1][1].append((name, value))

    def on_headers_complete(self) -> None:
        pass

    def on_body(self, body: bytes) -> None:
        url, headers, known = self.requests[-1]
        self.requests[-1] = (url, headers, known + body)

    def on_message_complete(self) -> None:
        assert not self.is_complete
        self.is_complete = True

    def on_bad_request(self, error: BadRequest) -> None:
        self.errors.append(error)

    def bodies(self) -> list[bytes]:
        return [body for _, _, body in self.requests]


def parsed(*pieces: bytes) -> Events:
    events = Events()
    parser = RequestParser(events)
    for piece in pieces:
        parser.feed_data(piece)
    return events


def split(data: bytes, positions: list[int]) -> list[bytes]:
    ends = sorted({position % (len(data) + 1) for position in positions} | {0, len(data)})
    return [data[start:end] for start, end in pairwise(ends)]


UPGRADES = [
    H2C,
    *(
        b"%s: %s\r\n%s: %s\r\n" % (first, what, second, to)
        for first, what, second, to in product(
            (b"Connection", b"connection", b"CONNECTION"),
            (b"Upgrade", b"upgrade", b"keep-alive, Upgrade", b"Upgrade, close"),
            (b"Upgrade", b"UPGRADE"),
            (b"h2c", b"websocket", b"TLS/1.2", b"HTTP/2.0, SHTTP/1.3", b"x"),
        )
    ),
    b"Upgrade: h2c\r\nConnection: Upgrade\r\n",
    b"Upgrade: websocket\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\nConnection: Upgrade\r\n",
    b"Connection: keep-alive\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nUpgrade: websocket\r\n",
    b"Upgrade: h2c\r\n",
    b"Connection: Upgrade\r\n",
    b"",
]


@pytest.mark.parametrize("framing", [LENGTH + b"\r\n" + INNER, CHUNKED + b"\r\n" + CHUNKS], ids=["length", "chunked"])
@pytest.mark.parametrize("order", ["before", "after"])
@pytest.mark.parametrize("offer", UPGRADES)
def test_a_body_belongs_to_its_request_with_any_upgrade_offer(offer: bytes, order: str, framing: bytes) -> None:
    lines, _, rest = framing.partition(b"\r\n")
    one = START + HOST + (offer + lines + b"\r\n" if order == "before" else lines + b"\r\n" + offer) + rest

    for pieces in ([one + one], [one, one], [bytes([byte]) for byte in one + one]):
        events = parsed(*pieces)
        assert events.bodies() == [INNER, INNER]
        assert (events.errors, events.is_complete) == ([], True)


@pytest.mark.parametrize("offer", [H2C, b"Connection: Upgrade\r\nUpgrade: websocket\r\n"])
def test_requests_without_a_body_end_at_their_head(offer: bytes) -> None:
    events = parsed((b"GET /v1/models HTTP/1.1\r\n" + HOST + offer + b"\r\n") * 3)

    assert [url for url, _, _ in events.requests] == [b"/v1/models"] * 3
    assert events.is_complete


ACCEPTED = [
    START + HOST + LENGTH + b"\r\n" + INNER,
    b"\r\n\r\n" + START + HOST + LENGTH + b"\r\n" + INNER,
    START + HOST + b"content-length:%d\r\n" % len(INNER) + b"\r\n" + INNER,
    START + HOST + b"Content-Length: \t %d \t \r\n" % len(INNER) + b"\r\n" + INNER,
    START + HOST + b"Content-Length: 000%d\r\n" % len(INNER) + b"\r\n" + INNER,
    START + HOST + H2C + LENGTH + b"\r\n" + INNER,
    START + HOST + CHUNKED + b"\r\n" + CHUNKS,
    START + HOST + b"Transfer-Encoding: Chunked \r\n" + b"\r\n" + CHUNKS,
    START + HOST + CHUNKED + b'\r\n%x;name=value;quoted="a;b"\r\n%s\r\n0;last\r\n\r\n' % (len(INNER), INNER),
    START + HOST + CHUNKED + b"\r\n%x\r\n%s\r\n0\r\nX-Trailer: 1\r\nHost: b\r\n\r\n" % (len(INNER), INNER),
    START
    + HOST
    + CHUNKED
    + H2C
    + b"\r\n%x\r\n%s\r\n0\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n" % (len(INNER), INNER),
    START + HOST + CHUNKED + b"\r\n" + b"".join(b"1\r\n%c\r\n" % byte for byte in INNER) + b"0\r\n\r\n",
    START + b"Host: [::1]:8000\r\n" + LENGTH + b"\r\n" + INNER,
    START + b"Host:\r\n" + LENGTH + b"\r\n" + INNER,
    b"POST http://b:80/v1/completions HTTP/1.1\r\n" + HOST + LENGTH + b"\r\n" + INNER,
]
"""Each is a single request."""


@given(st.lists(st.sampled_from(ACCEPTED), min_size=1, max_size=4), st.lists(st.integers(0, 10**6), max_size=12))
def test_requests_do_not_depend_on_how_the_bytes_are_split(requests: list[bytes], positions: list[int]) -> None:
    data = b"".join(requests)
    events = parsed(*split(data, positions))

    assert (events.bodies(), events.errors) == ([INNER] * len(requests), [])
    assert events == parsed(data)


def test_trailers_are_not_headers() -> None:
    events = parsed(START + HOST + CHUNKED + b"\r\n0\r\nAuthorization: Bearer x\r\nHost: b\r\n\r\n")

    assert events.requests == [(b"/v1/completions", [(b"host", b"a"), (b"transfer-encoding", b"chunked")], b"")]


def test_the_host_of_a_target_in_absolute_form_overrides_the_header() -> None:
    events = parsed(b"GET http://user@b:80/v1/models?x=1 HTTP/1.1\r\nHost: a\r\n\r\n")

    assert events.requests == [(b"http://user@b:80/v1/models?x=1", [(b"host", b"b:80")], b"")]


REJECTED = {
    "no host": START + LENGTH + b"\r\n" + INNER,
    "two hosts": START + HOST + HOST + LENGTH + b"\r\n" + INNER,
    "hosts in a list": START + b"Host: a, b\r\n" + LENGTH + b"\r\n" + INNER,
    "host with a path": START + b"Host: a/b\r\n" + LENGTH + b"\r\n" + INNER,
    "host with a user": START + b"Host: u@a\r\n" + LENGTH + b"\r\n" + INNER,
    "length and chunked": START + HOST + LENGTH + CHUNKED + b"\r\n" + CHUNKS,
    "chunked and length": START + HOST + CHUNKED + LENGTH + b"\r\n" + CHUNKS,
    "length and chunked with an upgrade": START + HOST + H2C + LENGTH + CHUNKED + b"\r\n" + CHUNKS,
    "two lengths": START + HOST + LENGTH + b"Content-Length: 0\r\n\r\n" + INNER,
    "two equal lengths": START + HOST + LENGTH + LENGTH + b"\r\n" + INNER,
    "two equal lengths with an upgrade": START + HOST + H2C + LENGTH + LENGTH + b"\r\n" + INNER,
    "lengths in a list": START + HOST + b"Content-Length: 5, 5\r\n\r\n" + INNER,
    "a length with a sign": START + HOST + b"Content-Length: +5\r\n\r\n" + INNER,
    "a negative length": START + HOST + b"Content-Length: -5\r\n\r\n" + INNER,
    "a hexadecimal length": START + HOST + b"Content-Length: 0x5\r\n\r\n" + INNER,
    "a length of nothing": START + HOST + b"Content-Length:\r\n\r\n" + INNER,
    "a length with a gap": START + HOST + b"Content-Length: 4 5\r\n\r\n" + INNER,
    "a length too large": START + HOST + b"Content-Length: 99999999999999999999\r\n\r\n" + INNER,
    "a length with a point": START + HOST + b"Content-Length: 5.0\r\n\r\n" + INNER,
    "white space before the colon": START + HOST + b"Content-Length : 5\r\n\r\n" + INNER,
    "gzip": START + HOST + b"Transfer-Encoding: gzip\r\n\r\n" + CHUNKS,
    "gzip, chunked": START + HOST + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + CHUNKS,
    "chunked, gzip": START + HOST + b"Transfer-Encoding: chunked, gzip\r\n\r\n" + CHUNKS,
    "chunked twice": START + HOST + CHUNKED + CHUNKED + b"\r\n" + CHUNKS,
    "chunked, chunked": START + HOST + b"Transfer-Encoding: chunked, chunked\r\n\r\n" + CHUNKS,
    "chunked, identity": START + HOST + CHUNKED + b"Transfer-Encoding: identity\r\n\r\n" + CHUNKS,
    "identity": START + HOST + b"Transfer-Encoding: identity\r\n" + LENGTH + b"\r\n" + INNER,
    "xchunked": START + HOST + b"Transfer-Encoding: xchunked\r\n\r\n" + CHUNKS,
    "chunked with a comma": START + HOST + b"Transfer-Encoding: chunked,\r\n\r\n" + CHUNKS,
    "chunked in quotes": START + HOST + b'Transfer-Encoding: "chunked"\r\n\r\n' + CHUNKS,
    "chunked after a vertical tab": START + HOST + b"Transfer-Encoding:\x0bchunked\r\n\r\n" + CHUNKS,
    "chunked in HTTP/1.0": b"POST / HTTP/1.0\r\n" + HOST + CHUNKED + b"\r\n" + CHUNKS,
    "chunked folded": START + HOST + b"Transfer-Encoding:\r\n chunked\r\n\r\n" + CHUNKS,
    "a folded line": START + HOST + b"X: a\r\n b\r\n" + LENGTH + b"\r\n" + INNER,
    "a folded line, with a tab": START + HOST + b"X: a\r\n\tb\r\n" + LENGTH + b"\r\n" + INNER,
    "a fold at the start": START + b" X: a\r\n" + HOST + LENGTH + b"\r\n" + INNER,
    "lines that end in LF": (START + HOST + LENGTH + b"\r\n").replace(b"\r\n", b"\n") + INNER,
    "a line that ends in LF": START + HOST + b"X: a\nContent-Length: 5\r\n\r\n" + INNER,
    "a head that ends in LF": START + HOST + LENGTH + b"\n" + INNER,
    "a line that ends in CR": START + HOST + b"X: a\rContent-Length: 5\r\n\r\n" + INNER,
    "NUL in a value": START + HOST + b"X: a\x00b\r\n" + LENGTH + b"\r\n" + INNER,
    "NUL in a name": START + HOST + b"X\x00: a\r\n" + LENGTH + b"\r\n" + INNER,
    "a name of nothing": START + HOST + b": a\r\n" + LENGTH + b"\r\n" + INNER,
    "a line without a colon": START + HOST + b"X\r\n" + LENGTH + b"\r\n" + INNER,
    "a chunk size with a sign": START + HOST + CHUNKED + b"\r\n+5\r\nabcde\r\n0\r\n\r\n" + INNER,
    "a chunk size with 0x": START + HOST + CHUNKED + b"\r\n0x5\r\nabcde\r\n0\r\n\r\n" + INNER,
    "a chunk size of nothing": START + HOST + CHUNKED + b"\r\n\r\nabcde\r\n0\r\n\r\n" + INNER,
    "a chunk size too large": START + HOST + CHUNKED + b"\r\nfffffffffffffffff\r\nabcde\r\n0\r\n\r\n" + INNER,
    "a chunk size after a space": START + HOST + CHUNKED + b"\r\n 5\r\nabcde\r\n0\r\n\r\n" + INNER,
    "a chunk size that ends in LF": START + HOST + CHUNKED + b"\r\n5\nabcde\r\n0\r\n\r\n" + INNER,
    "an extension that ends in LF": START + HOST + CHUNKED + b"\r\n5;\nabcde\r\n0\r\n\r\n" + INNER,
    "an extension that ends in CR": START + HOST + CHUNKED + b"\r\n5;a\rabcde\r\n0\r\n\r\n" + INNER,
    "a chunk that ends in LF": START + HOST + CHUNKED + b"\r\n5\r\nabcde\n0\r\n\r\n" + INNER,
    "a chunk that goes on": START + HOST + CHUNKED + b"\r\n5\r\nabcdefg\r\n0\r\n\r\n" + INNER,
    "a length as a trailer": START + HOST + CHUNKED + b"\r\n0\r\nContent-Length: 3\r\n\r\n" + INNER,
    "a length as a trailer, with an upgrade": START
    + HOST
    + H2C
    + CHUNKED
    + b"\r\n0\r\nContent-Length: 3\r\n\r\n"
    + INNER,
    "a trailer that is folded": START + HOST + CHUNKED + b"\r\n0\r\nX: a\r\n b\r\n\r\n" + INNER,
    "HTTP/2.0": b"POST / HTTP/2.0\r\n" + HOST + LENGTH + b"\r\n" + INNER,
    "HTTP/0.9": b"POST / HTTP/0.9\r\n" + HOST + LENGTH + b"\r\n" + INNER,
    "HTTP/1.2": b"POST / HTTP/1.2\r\n" + HOST + LENGTH + b"\r\n" + INNER,
    "no version": b"GET /\r\n" + HOST + b"\r\n" + INNER,
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + INNER,
    "CONNECT": b"CONNECT a:80 HTTP/1.1\r\n" + HOST + b"\r\n" + INNER,
    "CONNECT of a path": b"CONNECT / HTTP/1.1\r\n" + HOST + LENGTH + b"\r\n" + INNER,
    "a target of no path": b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n" + INNER,
    "a target with a space": b"GET /a b HTTP/1.1\r\n" + HOST + b"\r\n" + INNER,
    "a target with a byte of no text": b"GET /\x80 HTTP/1.1\r\n" + HOST + b"\r\n" + INNER,
    "a method in lower case": b"post / HTTP/1.1\r\n" + HOST + LENGTH + b"\r\n" + INNER,
    "a method of its own": b"SMUGGLE / HTTP/1.1\r\n" + HOST + LENGTH + b"\r\n" + INNER,
}


@pytest.mark.parametrize("sent", REJECTED.values(), ids=REJECTED)
def test_an_ambiguous_message_is_rejected_and_nothing_after_it_is_parsed(sent: bytes) -> None:
    valid = ACCEPTED[0]

    for pieces in ([valid + sent + valid], [bytes([byte]) for byte in valid + sent + valid]):
        events = parsed(*pieces)
        assert [int(error.status) for error in events.errors] == [400]
        assert b"SMUGGLED" not in b"".join(url for url, _, _ in events.requests)
        assert len(events.requests) <= 2
        assert events.bodies()[0] == INNER


@given(st.sampled_from(sorted(REJECTED)), st.lists(st.integers(0, 10**6), max_size=8))
def test_rejections_do_not_depend_on_how_the_bytes_are_split(name: str, positions: list[int]) -> None:
    events = parsed(*split(REJECTED[name] + ACCEPTED[0], positions))

    assert [int(error.status) for error in events.errors] == [400]
    assert b"SMUGGLED" not in b"".join(url for url, _, _ in events.requests)


LINE = b"X: " + b"a" * 1000 + b"\r\n"


@pytest.mark.parametrize(
    "head",
    [
        START + HOST + LINE * 66 + b"\r\n",
        b"GET /" + b"a" * MAX_HEAD_BYTES + b" HTTP/1.1\r\n" + HOST + b"\r\n",
        START + HOST + b"X: " + b"a" * MAX_HEAD_BYTES + b"\r\n\r\n",
        START + HOST + b"a" * MAX_HEAD_BYTES + b": a\r\n\r\n",
        START + HOST + b"X: " + b"a" * 3 * MAX_HEAD_BYTES,
    ],
    ids=["lines", "target", "value", "name", "no end"],
)
@pytest.mark.parametrize("size", [1000, 10**6])
def test_a_head_that_is_too_large_has_its_own_status(head: bytes, size: int) -> None:
    pieces = [head[start : start + size] for start in range(0, len(head), size)]

    events = parsed(*pieces, b"a" * MAX_HEAD_BYTES, b"a")

    assert [int(error.status) for error in events.errors] == [431]
    assert events.requests == []


def test_a_head_of_nearly_the_largest_size_is_accepted() -> None:
    one = START + HOST + LINE * 65 + LENGTH + b"\r\n" + INNER

    events = parsed(one, one[:1000], one[1000:], one * 2)

    assert (events.bodies(), events.errors) == ([INNER] * 4, [])


@pytest.mark.parametrize("endless", [b"0\r\nX: " + b"a" * 10**5, b"5;" + b"a" * 10**5])
def test_endless_trailers_and_extensions_are_rejected(endless: bytes) -> None:
    sent = START + HOST + CHUNKED + b"\r\n" + endless

    events = parsed(*[sent[start : start + 1000] for start in range(0, len(sent), 1000)])

    assert [int(error.status) for error in events.errors] == [400]


def test_a_body_of_any_size_is_accepted() -> None:
    body = b"x" * 10**6
    for sent in (
        START + HOST + b"content-length: %d\r\n\r\n" % len(body) + body,
        START + HOST + CHUNKED + b"\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(body), body),
    ):
        assert parsed(*[sent[start : start + 1000] for start in range(0, len(sent), 1000)]).bodies() == [body]
