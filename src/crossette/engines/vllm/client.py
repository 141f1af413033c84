"""Requests to a vLLM server from an event loop, and their messages as they arrive."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping

import httpx
import msgspec

from crossette.engines.vllm import wire
from crossette.engines.vllm.params import Values
from crossette.engines.vllm.wire import EventReader, Failure, Message

# A connection per request: closing it is how a request is ended, and one that is kept would outlive the event loop.
_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=0)
_TIMEOUT = httpx.Timeout(10.0, read=None, pool=None)


class RequestFailed(Exception):
    """vLLM reports that a request has failed. `status` is an HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def new_client() -> httpx.AsyncClient:
    return httpx.AsyncClient(limits=_LIMITS, timeout=_TIMEOUT, trust_env=False)


async def messages(
    client: httpx.AsyncClient, url: str, headers: Mapping[str, str], body: Values
) -> AsyncGenerator[Message, None]:
    """Send a request and yield its messages: the events of a stream, or the one answer.

    Close the iterator to end the request. Raises RequestFailed, or httpx.TransportError if the connection fails.
    """
    async with client.stream("POST", url + wire.PATH, json=body, headers=headers) as response:
        if response.status_code != 200:
            raise _refusal(response.status_code, await response.aread())
        if not body["stream"]:
            yield _message(await response.aread())
            return
        reader = EventReader()
        async for data in response.aiter_bytes():
            for event in reader.feed(data):
                if event == wire.END:
                    return
                yield _message(event)


def _message(data: bytes) -> Message:
    try:
        message = wire.decode(data)
    except msgspec.DecodeError as error:
        raise RequestFailed(500, f"its answer cannot be read: {error}") from error
    if message.error is not None:
        raise _failed(message.error)
    return message


def _refusal(status: int, data: bytes) -> RequestFailed:
    try:
        error = wire.decode(data).error or Failure()
    except msgspec.DecodeError:
        error = Failure(data[:500].decode(errors="replace"))
    return RequestFailed(status, error.message)


def _failed(error: Failure) -> RequestFailed:
    return RequestFailed(error.code, error.message)
