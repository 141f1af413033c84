"""Request bodies, JSON responses and event streams: the only file that handles JSON bytes and SSE frames."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from crossette.api.dialect import Dialect
from crossette.api.exchange import Exchange
from crossette.errors import (
    EngineFailure,
    InvalidRequest,
    RequestTimeout,
    RequestTooLarge,
    ServingError,
    UnknownField,
)
from crossette.settings import Count, Interval, Seconds, setting

log = logging.getLogger(__name__)

T = TypeVar("T")
Body = TypeVar("Body", bound=msgspec.Struct)

_BODY_GRACE_S = 10.0
_BODY_BYTES_PER_S = 10_000
"""A body may take ten seconds, plus one second for every 10 kB; a slower upload is rejected."""


class ClientDisconnected(Exception):
    """The client disconnected, so that no response is possible."""


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """Limits of requests, and timeouts of streams."""

    max_body_bytes: Count = setting(
        16 * 2**20, "Maximum size of a request body in bytes; larger ones are rejected with 413."
    )
    max_messages: Count = setting(2048, "Maximum number of messages in a conversation; more are rejected with 400.")
    max_schema_bytes: Count = setting(
        2**20,
        "Maximum bytes of a schema, pattern or grammar for structured output, and of a list of tools, as JSON; "
        "larger ones are rejected with 400.",
    )
    max_attempts: Count = setting(
        3,
        "Most times an answer is sampled whose schema has keywords that no grammar can enforce, until it is valid.",
    )
    first_byte_timeout: Seconds = setting(
        15.0, "Seconds that a stream's status waits for the first token; then 200 and comment lines are sent."
    )
    comment_interval: Interval = setting(15.0, "Seconds between comment lines that keep an idle stream open.")


async def read_json(request: Request, body_type: type[Body], settings: HttpSettings) -> Body:
    """The request's body as `body_type`. Raises an error with status 400, 408 or 413 for an invalid body."""
    raw = await _read_body(request, settings.max_body_bytes)
    try:
        return msgspec.json.decode(raw, type=body_type)
    except msgspec.ValidationError as error:
        raise _explain(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f"The body is not valid JSON: {error}") from error


async def _read_body(request: Request, limit: int) -> bytes:
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit:
        raise _too_large(int(declared), limit)
    body = bytearray()
    loop = asyncio.get_running_loop()
    start = loop.time()
    try:
        async with asyncio.timeout_at(start + _BODY_GRACE_S) as deadline:
            async for chunk in request.stream():
                body += chunk
                if len(body) > limit:
                    raise _too_large(len(body), limit)
                deadline.reschedule(start + _BODY_GRACE_S + len(body) / _BODY_BYTES_PER_S)
    except TimeoutError:
        raise RequestTimeout(f"The body arrived too slowly: {len(body)} bytes so far. Send it again.") from None
    except ClientDisconnect:
        raise ClientDisconnected from None
    return bytes(body)


def _too_large(size: int, limit: int) -> RequestTooLarge:
    return RequestTooLarge(
        f"The body has {size} bytes or more, and the limit is {limit}. "
        "Send less, or start the server with a larger --max-body-bytes."
    )


_ERROR = re.compile(r"^(?P<what>.*?)(?: - at `(?P<path>[^`]*)`)?$", re.DOTALL)
_WRONG_TYPE = re.compile(r"^Expected `(?P<wanted>[^`]*)`, got `(?P<given>[^`]*)`$")
_FIELD = re.compile(r"(?:unknown|missing required) field `(?P<name>[^`]*)`")
_TYPES = {
    "str": "string",
    "int": "integer",
    "float": "number",
    "bool": "boolean",
    "array": "list",
    "object": "object",
    "null": "null",
}


def _explain(message: str) -> ServingError:
    """Convert an error message of msgspec to an error with a field path such as `messages[2].content`."""
    matched = _ERROR.match(message)
    what = matched["what"] if matched else message
    path = ((matched["path"] if matched else None) or "$").removeprefix("$").removeprefix(".").replace("[...]", "")
    field = _FIELD.search(what)
    if field:
        path = f"{path}.{field['name']}" if path else field["name"]
        if "unknown" in what:
            return UnknownField(f"Extra inputs are not permitted, field: '{path}'", param=path)
        return InvalidRequest(f"Field required, field: '{path}'", param=path)
    types = _WRONG_TYPE.match(what)
    if types:
        wanted = " or ".join(_TYPES.get(kind, kind) for kind in types["wanted"].split(" | "))
        given = _TYPES.get(types["given"], types["given"])
        return InvalidRequest(f"Input should be a valid {wanted}, not {given}, field: '{path}'", param=path or None)
    return InvalidRequest(f"{what}, field: '{path}'", param=path or None)


def json_response(content: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(content), status, headers, media_type="application/json")


class ErrorDetail(msgspec.Struct):
    message: str
    type: str
    param: str | None
    """The path of the invalid field, if any: `messages[2].content`."""
    code: str | None


class ErrorBody(msgspec.Struct):
    """The body of an error, with the keys that the SDKs of both dialects read."""

    error: ErrorDetail
    request_id: str


def error_body(error: ServingError, dialect: Dialect, request_id: str) -> ErrorBody:
    kind, code = dialect.errors[error.kind]
    return ErrorBody(ErrorDetail(error.message, kind, error.param, code), request_id)


def frame(content: Any) -> bytes:
    """One event of a stream."""
    return b"data: " + msgspec.json.encode(content) + b"\n\n"


DONE = b"data: [DONE]\n\n"
_COMMENT = b":\n\n"


class EventStream(Response):
    """A response of server-sent events. It ends with `[DONE]`, or with one error frame and no `[DONE]`.

    Status and headers wait for the first chunk, so that an early failure has its own status; after
    `first_byte_timeout` they are sent alone. `late_headers` is called at that moment. A disconnect closes `chunks`.
    `close` is always called at the end, possibly twice: closing a generator that was never iterated runs none of it.
    """

    def __init__(
        self,
        chunks: AsyncGenerator[Any, None],
        close: Callable[[], Awaitable[None]],
        dialect: Dialect,
        request_id: str,
        settings: HttpSettings,
        late_headers: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        super().__init__(media_type="text/event-stream")
        self.headers["cache-control"] = "no-cache"
        self.headers["x-accel-buffering"] = "no"
        del self.headers["content-length"]
        self._chunks = chunks
        self._close = close
        self._dialect = dialect
        self._request_id = request_id
        self._settings = settings
        self._late_headers = late_headers
        self._quiet = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await cancel_on_disconnect(receive, self._run(send, Exchange.of(scope)))
        finally:
            await self._close()

    async def _run(self, send: Send, exchange: Exchange) -> None:
        async with aclosing(self._chunks):
            first = asyncio.ensure_future(anext(self._chunks, None))
            try:
                await asyncio.wait({first}, timeout=self._settings.first_byte_timeout)
                if first.done():
                    first.result()  # raises an early failure, with its own status
                self.headers.update(self._late_headers())
                await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
                await self._send_chunks(first, send, exchange)
            finally:  # a running generator cannot be closed
                first.cancel()
                await asyncio.gather(first, return_exceptions=True)

    async def _send_chunks(self, first: asyncio.Future[Any], send: Send, exchange: Exchange) -> None:
        """Send everything after the headers. A failure is sent as a frame, as the status is sent already."""
        commenting = asyncio.create_task(self._send_comments(send))
        try:
            chunk = await first
            if chunk is not None:
                exchange.note_finish_reasons(chunk)
                await _send_frame(send, frame(chunk))
            async for chunk in self._chunks:
                self._quiet = False
                exchange.note_finish_reasons(chunk)
                await _send_frame(send, frame(chunk))
            last = DONE
        except Exception as error:
            exchange.error = as_serving_error(error)
            last = frame(error_body(exchange.error, self._dialect, self._request_id))
        finally:
            commenting.cancel()
        await self._close()  # before the end is sent, as the client may then send its next request
        await _send_frame(send, last)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_comments(self, send: Send) -> None:
        """Send a comment line after every interval in which nothing else was sent."""
        while True:
            self._quiet = True
            await asyncio.sleep(self._settings.comment_interval)
            if self._quiet:
                await _send_frame(send, _COMMENT)


async def _send_frame(send: Send, data: bytes) -> None:
    await send({"type": "http.response.body", "body": data, "more_body": True})


def as_serving_error(error: Exception) -> ServingError:
    """The error itself; an unexpected one is logged and replaced by an error without details."""
    if isinstance(error, ServingError):
        return error
    log.error("A request failed unexpectedly", exc_info=error)
    return EngineFailure("The server failed while answering this request. Its log has the cause.")


async def cancel_on_disconnect(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """Await `work`, and cancel it if the client disconnects, which an ASGI application must detect itself.

    Raises ClientDisconnected in that case. The request's body must already be read.
    """
    working = asyncio.ensure_future(work)
    watching = asyncio.ensure_future(_disconnect(receive))
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientDisconnected
    finally:
        for task in (working, watching):
            task.cancel()
        await asyncio.gather(working, watching, return_exceptions=True)


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
