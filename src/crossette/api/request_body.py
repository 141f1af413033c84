"""Request bodies: read within their limits of size and time, and decoded."""

from __future__ import annotations

import asyncio
from typing import TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request

from crossette.api.content_coding import decompress
from crossette.api.exchange import Exchange
from crossette.api.http import ClientDisconnected, HttpSettings
from crossette.api.schema.decoding import decode, with_model
from crossette.errors import RequestTimeout, RequestTooLarge

Body = TypeVar("Body", bound=msgspec.Struct)

_GRACE_S = 10.0
_BYTES_PER_S = 10_000
"""A body may take ten seconds, plus one second for every 10 kB; a slower upload is rejected."""


async def read_json(
    request: Request, body_type: type[Body], settings: HttpSettings, *, may_be_empty: bool = False
) -> Body:
    """The request's body as `body_type`. Raises an error with status 400, 408, 413 or 415 for an invalid body."""
    raw = await _read(request, settings.max_body_bytes)
    coding = request.headers.get("content-encoding", "").strip().lower()
    if coding:
        raw = await asyncio.to_thread(decompress, raw, coding, settings.max_body_bytes)
        Exchange.of(request.scope).note_decoded(raw)
    if model := Exchange.of(request.scope).path_model:
        raw = with_model(raw, model)
    if may_be_empty and not raw:
        raw = b"{}"
    return decode(raw, body_type)


async def _read(request: Request, limit: int) -> bytes:
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit:
        raise _too_large(int(declared), limit)
    body = bytearray()
    loop = asyncio.get_running_loop()
    start = loop.time()
    try:
        async with asyncio.timeout_at(start + _GRACE_S) as deadline:
            async for chunk in request.stream():
                body += chunk
                if len(body) > limit:
                    raise _too_large(len(body), limit)
                deadline.reschedule(start + _GRACE_S + len(body) / _BYTES_PER_S)
    except TimeoutError:
        raise RequestTimeout(f"The body arrived too slowly: {len(body)} bytes so far. Send it again.") from None
    except ClientDisconnect:
        raise ClientDisconnected from None
    return bytes(body)


def _too_large(size: int, limit: int) -> RequestTooLarge:
    return RequestTooLarge(
        f"The body has {size} bytes or more, and the limit is {limit}. Send less.",
        hint="--max-body-bytes is the limit",
    )
