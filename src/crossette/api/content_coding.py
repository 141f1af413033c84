"""Content codings of request bodies: gzip and deflate, within a size limit."""

from __future__ import annotations

import zlib

from crossette.errors import InvalidRequest, RequestTooLarge, UnsupportedCoding

ACCEPTED = "gzip, deflate"
_GZIP = 16 + zlib.MAX_WBITS
_RAW = -zlib.MAX_WBITS
_GZIP_MAGIC = b"\x1f\x8b"
"""The start of each member of a gzip body."""
_MAX_MEMBERS = 64
"""Maximum members of a gzip body: each one costs a copy of what follows it."""


def decompress(body: bytes, coding: str, limit: int) -> bytes:
    """The body without its coding, in lower case: "" and `identity` are none.

    Never uses more memory than `limit` bytes for the result. Raises UnsupportedCoding, RequestTooLarge if the result
    exceeds the limit, or InvalidRequest.
    """
    if coding in ("", "identity"):
        return body
    if coding not in ("gzip", "x-gzip", "deflate"):
        raise UnsupportedCoding(f"content-encoding {coding[:40]!r} is not supported. Send {ACCEPTED}, or leave it out.")
    window = _GZIP if coding != "deflate" else zlib.MAX_WBITS if _has_zlib_header(body) else _RAW
    stream, plain = _inflated(body, window, coding, limit)
    for _ in range(_MAX_MEMBERS - 1):
        if not (window == _GZIP and stream.eof and stream.unused_data.startswith(_GZIP_MAGIC)) or len(plain) > limit:
            break
        stream, more = _inflated(stream.unused_data, window, coding, limit - len(plain))
        plain += more
    if len(plain) > limit:
        raise RequestTooLarge(
            f"The decompressed body has more than {limit} bytes, the limit. Send less.",
            hint="--max-body-bytes is the limit",
        )
    if not stream.eof:
        raise InvalidRequest(f"The {coding} body is incomplete: it ends before its compressed data does.")
    if stream.unused_data:
        raise InvalidRequest(f"{len(stream.unused_data)} bytes follow the end of the {coding} body.")
    return plain


def _inflated(body: bytes, window: int, coding: str, limit: int) -> tuple[zlib._Decompress, bytes]:
    """The first stream in a body, and up to `limit` + 1 bytes of its plain text."""
    stream = zlib.decompressobj(window)
    try:
        return stream, stream.decompress(body, limit + 1)
    except zlib.error as error:
        raise InvalidRequest(f"content-encoding is {coding}, but the body is not valid {coding}: {error}") from None


def _has_zlib_header(body: bytes) -> bool:
    """Whether a `deflate` body is in zlib's format, as RFC 9110 requires. Some clients leave out its header."""
    return len(body) > 1 and body[0] & 0x0F == zlib.DEFLATED and (body[0] * 256 + body[1]) % 31 == 0
