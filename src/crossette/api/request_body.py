"""Request bodies: read within their limits of size and time, and decoded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeVar

import msgspec
from starlette.requests import Request
from starlette.types import Message, Receive

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
    exchange = Exchange.of(request.scope)
    raw = await _read(request.receive, exchange.headers, settings.max_body_bytes)
    coding = exchange.headers.get("content-encoding", "").strip().lower()
    if coding:
        raw = await asyncio.to_thread(decompress, raw, coding, settings.max_body_bytes)
        exchange.note_decoded(raw)
    if exchange.path_model:
        raw = with_model(raw, exchange.path_model)
    if may_be_empty and not raw:
        raw = b"{}"
    return decode(raw, body_type)


class BoundedReceive:
    """The messages of a request, within a limit of bytes and a time that grows with the bytes that have arrived.

    Raises RequestTimeout, and what `too_large` returns for a number of bytes.
    """

    def __init__(self, receive: Receive, limit: int, too_large: Callable[[int], RequestTooLarge]) -> None:
        self._receive = receive
        self._limit = limit
        self._too_large = too_large
        self._num_bytes = 0
        self._begun = asyncio.get_running_loop().time()

    def check_declared(self, headers: Mapping[str, str]) -> None:
        """Check the content-length, before anything is read."""
        declared = headers.get("content-length", "")
        if declared.isdigit():
            self._check(int(declared))

    async def __call__(self) -> Message:
        try:
            async with asyncio.timeout_at(self._begun + _GRACE_S + self._num_bytes / _BYTES_PER_S):
                message = await self._receive()
        except TimeoutError:
            raise RequestTimeout(
                f"The body arrived too slowly: {self._num_bytes} bytes so far. Send it again."
            ) from None
        self._num_bytes += len(message.get("body", b""))
        self._check(self._num_bytes)
        return message

    def _check(self, size: int) -> None:
        if size > self._limit:
            raise self._too_large(size)


async def _read(receive: Receive, headers: Mapping[str, str], limit: int) -> bytes:
    bounded = BoundedReceive(receive, limit, partial(_too_large, limit=limit))
    bounded.check_declared(headers)
    parts, is_open = [], True
    while is_open:
        message = await bounded()
        if message["type"] == "http.disconnect":
            raise ClientDisconnected
        parts.append(message.get("body", b""))
        is_open = message.get("more_body", False)
    return b"".join(parts)


def _too_large(size: int, limit: int) -> RequestTooLarge:
    return RequestTooLarge(
        f"The body has {size} bytes or more, and the limit is {limit}. Send less.",
        hint="--max-body-bytes is the limit",
    )
