"""Bytes of a connection to requests: httptools' parser, held to one reading of each message.

httptools ends a message at its head where the head offers an upgrade, and takes the body for the next request; it
adds trailers to the headers of a request that is already being answered, and takes headers of any length.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Protocol

import httptools

from crossette.server.request_head import BadRequest, authority, check_head, framing

MAX_HEAD_BYTES = 64 * 2**10
_LINE_BYTES = len(b": \r\n")


class Listener(Protocol):
    """Who is told of a request's parts, as httptools names them."""

    def on_message_begin(self) -> None: ...
    def on_url(self, url: bytes) -> None: ...
    def on_header(self, name: bytes, value: bytes) -> None: ...
    def on_headers_complete(self) -> None: ...
    def on_body(self, body: bytes) -> None: ...
    def on_message_complete(self) -> None: ...
    def on_bad_request(self, error: BadRequest) -> None:
        """The bytes break HTTP. Nothing more is told of this connection."""


class RequestParser:
    """Tells `listener` of each request once its head is good, and of one that is not once, then of nothing.

    An upgrade is never taken: the request is read as if it were not offered (RFC 9110, 7.8). Has the methods of
    httptools' parser that uvicorn calls.
    """

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._is_broken = False
        self._is_replaying = False
        self.is_head_open = False
        self._unseen = 0
        """Bytes that were read since the parser last told of anything: a header line or a trailer without end."""
        self._begin_parser()

    def feed_data(self, data: bytes) -> None:
        if self._is_broken:
            return
        try:
            self._feed(data)
        except BadRequest as error:
            self._break(error)
        except httptools.HttpParserCallbackError as error:
            cause = error.__context__
            if not isinstance(cause, BadRequest):
                raise  # a fault of our own: asyncio logs it and closes the connection
            self._break(cause)
        except httptools.HttpParserError as error:
            self._break(BadRequest(f"The request is not valid HTTP: {error}."))

    def get_http_version(self) -> str:
        return self._parser.get_http_version()

    def get_method(self) -> bytes:
        return self._parser.get_method()

    def should_keep_alive(self) -> bool:
        return self._parser.should_keep_alive()

    def should_upgrade(self) -> bool:
        return False

    # What httptools calls.

    def on_message_begin(self) -> None:
        if self._is_replaying:
            return
        self._unseen = 0
        self.is_head_open = True
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._head_bytes = 0

    def on_url(self, url: bytes) -> None:
        if not self._is_replaying:
            self._url += url
            self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.is_head_open:  # else it is a trailer, which may not change what was read before it
            self._headers.append((name.lower(), value.rstrip(b" \t")))  # RFC 9112, 5.1: no part of the value
            self._count(len(name) + len(value) + _LINE_BYTES)

    def on_headers_complete(self) -> None:
        if self._is_replaying:
            self._is_replaying = False
            return
        self.is_head_open = False
        if self._parser.get_method() == b"CONNECT":
            raise BadRequest("CONNECT is not supported: this server is no proxy.")
        check_head(self._parser.get_http_version(), self._url, self._headers)
        self._tell_head()

    def on_body(self, body: bytes) -> None:
        self._unseen = 0
        self._listener.on_body(body)

    def on_message_complete(self) -> None:
        if not self._parser.should_upgrade():  # else its body is still to come
            self._unseen = 0
            self._listener.on_message_complete()

    def _tell_head(self) -> None:
        listener, named = self._listener, authority(self._url)
        listener.on_message_begin()
        listener.on_url(self._url)
        for name, value in self._headers:
            listener.on_header(name, value if name != b"host" or named is None else named)
        listener.on_headers_complete()

    def _count(self, size: int) -> None:
        self._unseen = 0
        self._head_bytes += size
        self._check_size(self._head_bytes)

    def _check_size(self, size: int) -> None:
        if size > MAX_HEAD_BYTES and self.is_head_open:
            raise BadRequest(
                f"The request's headers are larger than {MAX_HEAD_BYTES} bytes. Send less.",
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
            )
        if size > MAX_HEAD_BYTES:
            raise BadRequest(f"More than {MAX_HEAD_BYTES} bytes came between two pieces of the body.")

    def _feed(self, data: bytes) -> None:
        unseen = self._unseen
        self._unseen = unseen + len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as stop:
            self._replay_framing()
            self._feed(data[stop.args[0] :])
            return
        if self._unseen > len(data):  # nothing was told of since an earlier call
            self._check_size(self._unseen)

    def _replay_framing(self) -> None:
        """Go on behind the head in a new parser, which is told the framing and no upgrade."""
        self._begin_parser()
        self._is_replaying = True
        lines = b"".join(name + b": " + value + b"\r\n" for name, value in framing(self._headers))
        self._parser.feed_data(b"POST / HTTP/1.1\r\n" + lines + b"\r\n")

    def _begin_parser(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        # What follows a request that closes the connection is no error of that request.
        self._parser.set_dangerous_leniencies(lenient_data_after_close=True)

    def _break(self, error: BadRequest) -> None:
        self._is_broken = True
        self._listener.on_bad_request(error)
