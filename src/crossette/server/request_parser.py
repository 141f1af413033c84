"""The HTTP/1.1 request parser: httptools' parser with strict message framing.

httptools ends a message at its head if the head offers an upgrade, and parses the body as the next request; it adds
trailers to the headers of a running request, and accepts headers of any length.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Protocol

import httptools

from crossette.server.request_head import BadRequest, authority, check_head, framing

MAX_HEAD_BYTES = 64 * 2**10
_LINE_BYTES = len(b": \r\n")


class ParserCallbacks(Protocol):
    """The callbacks of a parser, with the names of httptools."""

    def on_message_begin(self) -> None: ...
    def on_url(self, url: bytes) -> None: ...
    def on_header(self, name: bytes, value: bytes) -> None: ...
    def on_headers_complete(self) -> None: ...
    def on_body(self, body: bytes) -> None: ...
    def on_message_complete(self) -> None: ...
    def on_bad_request(self, error: BadRequest) -> None:
        """The bytes are malformed. No further callbacks follow on this connection."""


class RequestParser:
    """Calls `callbacks` for each request once its head is valid, and `on_bad_request` for the first malformed one.

    Upgrades are ignored, which RFC 9110, 7.8 allows. Has the methods of httptools' parser that uvicorn calls.
    """

    def __init__(self, callbacks: ParserCallbacks) -> None:
        self._callbacks = callbacks
        self._is_broken = False
        self._is_replaying = False
        self.is_head_open = False
        self._bytes_since_event = 0
        """Bytes since the last parser event, to bound header lines and trailers."""
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
                raise  # a bug: asyncio logs it and closes the connection
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

    # --- called by httptools ---

    def on_message_begin(self) -> None:
        if self._is_replaying:
            return
        self._bytes_since_event = 0
        self.is_head_open = True
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._head_bytes = 0

    def on_url(self, url: bytes) -> None:
        if not self._is_replaying:
            self._url += url
            self._bytes_since_event = 0
            self._head_bytes += len(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.is_head_open:  # else it is a trailer, which must not change the headers
            self._headers.append((name.lower(), value.rstrip(b" \t")))  # RFC 9112, 5.1: not part of the value
            self._bytes_since_event = 0
            self._head_bytes += len(name) + len(value) + _LINE_BYTES
            if self._head_bytes > MAX_HEAD_BYTES:
                self._check_size(self._head_bytes)

    def on_headers_complete(self) -> None:
        if self._is_replaying:
            self._is_replaying = False
            return
        self.is_head_open = False
        if self._parser.get_method() == b"CONNECT":
            raise BadRequest("CONNECT is not supported: this server is no proxy.")
        check_head(self._parser.get_http_version(), self._url, self._headers)
        self._emit_head()

    def on_body(self, body: bytes) -> None:
        self._bytes_since_event = 0
        self._callbacks.on_body(body)

    def on_message_complete(self) -> None:
        if not self._parser.should_upgrade():  # else its body is still to come
            self._bytes_since_event = 0
            self._callbacks.on_message_complete()

    def _emit_head(self) -> None:
        callbacks, host = self._callbacks, authority(self._url)
        callbacks.on_message_begin()
        callbacks.on_url(self._url)
        for name, value in self._headers:
            callbacks.on_header(name, value if name != b"host" or host is None else host)
        callbacks.on_headers_complete()

    def _check_size(self, size: int) -> None:
        if size > MAX_HEAD_BYTES and self.is_head_open:
            raise BadRequest(
                f"The request's headers are larger than {MAX_HEAD_BYTES} bytes. Send fewer.",
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
            )
        if size > MAX_HEAD_BYTES:
            raise BadRequest(f"Chunk extensions or trailers are larger than {MAX_HEAD_BYTES} bytes.")

    def _feed(self, data: bytes) -> None:
        bytes_before = self._bytes_since_event
        self._bytes_since_event = bytes_before + len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as stop:
            self._replay_framing()
            self._feed(data[stop.args[0] :])
            return
        if self._bytes_since_event > len(data):  # no event since an earlier call
            self._check_size(self._bytes_since_event)

    def _replay_framing(self) -> None:
        """Continue after the head with a new parser, which gets a head with the same framing and no upgrade."""
        self._begin_parser()
        self._is_replaying = True
        lines = b"".join(name + b": " + value + b"\r\n" for name, value in framing(self._headers))
        self._parser.feed_data(b"POST / HTTP/1.1\r\n" + lines + b"\r\n")

    def _begin_parser(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        # Bytes after a request that closes the connection are not an error of that request.
        self._parser.set_dangerous_leniencies(lenient_data_after_close=True)

    def _break(self, error: BadRequest) -> None:
        self._is_broken = True
        self._callbacks.on_bad_request(error)
