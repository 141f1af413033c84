"""Request and response bodies, for a ledger that keeps them."""

from __future__ import annotations

from starlette.types import Message, Receive, Send

MAX_CONTENT = 2**20
"""Bytes kept of a request body, and of a response body."""


class Content:
    """The bodies of a request and its response, each up to `MAX_CONTENT` bytes, without a content coding."""

    def __init__(self) -> None:
        self._request = bytearray()
        self._answer = bytearray()

    @property
    def request(self) -> str:
        return _text(self._request)

    @property
    def answer(self) -> str:
        return _text(self._answer)

    def replace_request(self, body: bytes) -> None:
        """Keep `body` instead of the bytes received, which were compressed."""
        self._request.clear()
        _keep(self._request, body)

    def receiving(self, receive: Receive) -> Receive:
        async def kept() -> Message:
            message = await receive()
            _keep(self._request, message.get("body", b""))
            return message

        return kept

    def sending(self, send: Send) -> Send:
        async def kept(message: Message) -> None:
            _keep(self._answer, message.get("body", b""))
            await send(message)

        return kept


def _keep(kept: bytearray, data: bytes) -> None:
    kept += data[: MAX_CONTENT - len(kept)]


def _text(kept: bytearray) -> str:
    return kept.decode("utf-8", "replace")
