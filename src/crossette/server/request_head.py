"""Validation of request heads by RFC 9112, so that a proxy and this server cannot interpret a message differently.

It covers what the parser does not check itself: the version, a single valid `Host`, supported framing, and a target
that is a path or a URL.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from http import HTTPStatus

import httptools

Headers = Sequence[tuple[bytes, bytes]]
"""Names in lower case, and values, in the order of their lines."""

_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]+(?:%25[\w.~-]+)?\]|[A-Za-z0-9._~!$&'()*+;=%-]*)(?::[0-9]*)?")
_FRAMING = (b"content-length", b"transfer-encoding")


class BadRequest(Exception):
    """A malformed HTTP message: it is rejected and its connection is closed."""

    def __init__(self, message: str, status: HTTPStatus = HTTPStatus.BAD_REQUEST) -> None:
        super().__init__(message)
        self.message = message
        self.status = status


def check_head(version: str, target: bytes, headers: Headers) -> None:
    """Raise BadRequest for an invalid head. `version` is the parser's, such as "1.1"."""
    if version not in ("1.0", "1.1"):
        raise BadRequest(f"HTTP/{version} is not supported on this connection. Use HTTP/1.1.")
    _check_host([value for name, value in headers if name == b"host"], is_required=version == "1.1")
    _check_framing(version, headers)
    _check_target(target)


def framing(headers: Headers) -> list[tuple[bytes, bytes]]:
    """The headers that determine the length of the body."""
    return [(name, value) for name, value in headers if name in _FRAMING]


def authority(target: bytes) -> bytes | None:
    """The authority of a target in absolute form; None for a path. It overrides `Host` (RFC 9112, 3.2.2)."""
    if target.startswith(b"/"):
        return None
    return re.split(b"[/?#]", target.partition(b"://")[2], maxsplit=1)[0].rpartition(b"@")[2]


def _check_host(values: Sequence[bytes], is_required: bool) -> None:
    if len(values) > 1:
        raise BadRequest(f"The request has {len(values)} Host headers. Send one.")
    if not values and is_required:
        raise BadRequest("The request has no Host header. HTTP/1.1 requires one (RFC 9112, 3.2).")
    if values and not _HOST.fullmatch(values[0]):
        raise BadRequest("The Host header is not HOST or HOST:PORT.")


def _check_framing(version: str, headers: Headers) -> None:
    """RFC 9112, 6.1: unsupported framing must be rejected, and HTTP/1.0 has no transfer codings."""
    codings = [value.lower() for name, value in headers if name == b"transfer-encoding"]
    lengths = [value for name, value in headers if name == b"content-length"]
    if codings and codings != [b"chunked"]:
        shown = b", ".join(codings).decode("latin-1")
        raise BadRequest(f"The Transfer-Encoding '{shown}' is not supported. Send 'chunked' once, or a Content-Length.")
    if codings and version == "1.0":
        raise BadRequest("HTTP/1.0 has no Transfer-Encoding. Send a Content-Length, or use HTTP/1.1.")
    if len(lengths) + len(codings) > 1:
        raise BadRequest("The request has several body lengths. Send one Content-Length.")
    if lengths and not re.fullmatch(rb"[0-9]+", lengths[0]):
        raise BadRequest("The Content-Length is not a number of bytes.")


def _check_target(target: bytes) -> None:
    try:
        path = httptools.parse_url(target).path
    except httptools.HttpParserInvalidURLError:
        path = None
    if not path or not path.startswith(b"/") or not path.isascii():
        raise BadRequest("The request target is not a path of this server, such as /v1/models.")
