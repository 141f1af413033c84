"""Requests to a vLLM server, and their messages as they arrive."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

import msgspec

from crossette.engines.vllm import wire
from crossette.engines.vllm.connection import post
from crossette.engines.vllm.params import Values
from crossette.engines.vllm.wire import EventReader, Failure, Message


class RequestFailed(Exception):
    """vLLM reports that a request has failed. `status` is an HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


async def messages(url: str, headers: Mapping[str, str], body: Values) -> AsyncGenerator[Message, None]:
    """Send a request and yield its messages: the events of a stream, or the one answer.

    Close the generator to end the request. Raises RequestFailed or ConnectionFailed.
    """
    async with post(url + wire.PATH, headers, msgspec.json.encode(body)) as response:
        if response.status != 200:
            raise _refusal(response.status, await response.read())
        if not body["stream"]:
            yield _message(await response.read())
            return
        reader = EventReader()
        async with aclosing(response.pieces()) as pieces:
            async for data in pieces:
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
