"""Content codings of request bodies: gzip and deflate, within a size limit."""

from __future__ import annotations

import zlib

from crossette.errors import InvalidRequest, RequestTooLarge, UnsupportedCoding

ACCEPTED = "gzip, deflate"
_GZIP = 16 + zlib.MAX_WBITS
_RAW = -zlib.MAX_WBITS


def decompress(body: bytes, coding: str, limit: int) -> bytes:
    """The body without its coding, in lower case: "" and `identity` are none.

    Never uses more memory than `limit` bytes for the result. Raises UnsupportedCoding, RequestTooLarge if the result
    exceeds the limit, or InvalidRequest.
    """
    if coding in ("", "identity"):
        return body
    if coding not in ("gzip", "x-gzip", "deflate"):
        raise UnsupportedCoding(f"content-encoding {coding[:40]!r} is not supported. Send {ACCEPTED}, or leave it out.")
    stream = zlib.decompressobj(_GZIP if coding != "deflate" else zlib.MAX_WBITS if _has_zlib_header(body) else _RAW)
    try:
        plain = stream.decompress(body, limit + 1)
    except zlib.error as error:
        raise InvalidRequest(f"content-encoding is {coding}, but the body is not valid {coding}: {error}") from None
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


def _has_zlib_header(body: bytes) -> bool:
    """Whether a `deflate` body is in zlib's format, as RFC 9110 requires. Some clients leave out its header."""
    return len(body) > 1 and body[0] & 0x0F == zlib.DEFLATED and (body[0] * 256 + body[1]) % 31 == 0
