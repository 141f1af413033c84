"""One upstream: requests to it, whether it responds, and the probes that find out when it does again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, suppress
from time import monotonic
from typing import Any

import httpx
import msgspec

from crossette.certificates import client_context
from crossette.errors import RetryLater, ServingError, ShuttingDown, UpstreamFailed, UpstreamTimeout
from crossette.remote.chunks import Chunk, decode_chunk
from crossette.remote.events import EventParser
from crossette.remote.failures import MAX_BODY_BYTES, failure_of
from crossette.urls import split_http

log = logging.getLogger(__name__)

_FIRST_PROBE_S = 1.0
_LONGEST_PROBE_S = 60.0
_PROBE_TIMEOUT_S = 5.0
_KEEPALIVE_S = 3.0
"""Idle connections are closed after so long, before the usual 5 seconds of servers: a request may not meet that."""
_END_S = 0.1
_DONE = b"[DONE]"


class Upstream:
    """The API at `base_url`. Called in the event loop's thread only, except its creation.

    Raises OSError if the certificates of authorities cannot be read.
    """

    def __init__(
        self,
        base_url: str,
        key: str = "",
        *,
        connect_timeout_s: float = 5.0,
        read_timeout_s: float = 300.0,
        first_probe_s: float = _FIRST_PROBE_S,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        parts = split_http(self.base_url)
        self.name = parts.netloc.rpartition("@")[2]
        """Its host and port, for the log."""
        self.is_up = True
        """False from a failure until it responds again."""
        self.num_failures = 0
        self._key = key
        self._tls = client_context(parts.scheme)
        self._timeout = httpx.Timeout(read_timeout_s, connect=connect_timeout_s)
        self._first_probe_s = first_probe_s
        self._clock = clock
        self._busy_until = 0.0
        self._client: httpx.AsyncClient | None = None
        self._probing: asyncio.Task[None] | None = None
        self._reads: set[asyncio.Timeout] = set()
        self._is_closed = False

    @property
    def is_available(self) -> bool:
        """Whether it responded last time, and did not ask for a pause that still lasts."""
        return self.is_up and self._clock() >= self._busy_until

    async def chunks(self, path: str, body: dict[str, Any]) -> AsyncGenerator[Chunk, None]:
        """The chunks of an answer; closing the generator closes the connection.

        Raises ServingError: of the request, or UpstreamFailed, UpstreamTimeout or RetryLater of the upstream.
        """
        try:
            async with aclosing(self._events(path, body)) as events:
                async for event in events:
                    yield decode_chunk(event)
        except httpx.TimeoutException as error:
            failure: ServingError = UpstreamTimeout(
                "The upstream of this model took too long to answer.", hint=f"{self.name}: {type(error).__name__}"
            )
        except httpx.HTTPError as error:
            failure = UpstreamFailed(
                "The connection to the upstream of this model failed. Retry later.",
                hint=f"{self.name}: {type(error).__name__}",
            )
        except ServingError as error:
            failure = error
        else:
            return
        self._note(failure)
        raise failure

    async def _events(self, path: str, body: dict[str, Any]) -> AsyncGenerator[bytes, None]:
        content = msgspec.json.encode(body)
        headers = {"content-type": "application/json", "accept": "text/event-stream"}
        request = self._http().build_request("POST", self.base_url + path, content=content, headers=headers)
        response = await self._until_closed(self._http().send(request, stream=True))
        try:
            await self._check(response)
            self._note_up()
            parser, pieces = EventParser(), response.aiter_bytes()
            while (piece := await self._until_closed(anext(pieces, None))) is not None:
                for event in parser.push(piece):
                    if event == _DONE:
                        await _read_end(pieces)
                        return
                    yield event
        finally:
            await response.aclose()

    async def _check(self, response: httpx.Response) -> None:
        """Raise the error for a response that is no stream."""
        if response.status_code != 200:
            body = b""
            async for piece in response.aiter_bytes():
                body += piece
                if len(body) > MAX_BODY_BYTES:
                    break
            raise failure_of(response.status_code, response.headers, body, name=self.name, key=self._key)
        media_type = response.headers.get("content-type", "").partition(";")[0].strip()
        if media_type != "text/event-stream":
            raise UpstreamFailed(
                "The upstream of this model does not stream. Report it to the administrator.",
                hint=f"{self.name} responded with {media_type or 'no content-type'}",
            )

    async def _until_closed(self, work: Any) -> Any:  # Any: an awaitable and its result
        """Await, until `abort` is called. Raises ShuttingDown."""
        try:
            async with asyncio.timeout(0 if self._is_closed else None) as scope:
                self._reads.add(scope)
                return await work
        except TimeoutError:
            raise ShuttingDown("The server is shutting down. Retry in a moment.") from None
        finally:
            self._reads.discard(scope)

    def _http(self) -> httpx.AsyncClient:
        if self._client is None:
            headers = {"accept-encoding": "identity"}
            if self._key:
                headers["authorization"] = f"Bearer {self._key}"
            limits = httpx.Limits(max_keepalive_connections=64, keepalive_expiry=_KEEPALIVE_S)
            self._client = httpx.AsyncClient(headers=headers, timeout=self._timeout, limits=limits, verify=self._tls)
        return self._client

    # --- health ---

    def _note(self, failure: ServingError) -> None:
        """Learn from a failed request."""
        if isinstance(failure, ShuttingDown):
            return
        if isinstance(failure, RetryLater):
            self._busy_until = self._clock() + failure.retry_after
        elif isinstance(failure, UpstreamFailed | UpstreamTimeout):
            self.num_failures += 1
            self.is_up = False
            if self._probing is None and not self._is_closed:
                log.warning("The upstream %s failed: %s", self.name, failure.hint or failure.message)
                self._probing = asyncio.create_task(self._probe())

    def _note_up(self) -> None:
        if not self.is_up:
            log.info("The upstream %s responds again", self.name)
        self.is_up, self._busy_until = True, 0.0
        if self._probing is not None:
            self._probing.cancel()
            self._probing = None

    async def _probe(self) -> None:
        """List its models, ever less often, until it responds."""
        wait_s = self._first_probe_s
        while True:
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, _LONGEST_PROBE_S)
            try:
                response = await self._http().get(f"{self.base_url}/models", timeout=_PROBE_TIMEOUT_S)
            except httpx.HTTPError:
                continue
            if response.is_success:
                break
        self._probing = None
        self._note_up()

    # --- the end ---

    def abort(self) -> None:
        """End all requests with ShuttingDown."""
        self._is_closed = True
        for scope in self._reads:
            scope.reschedule(0)

    async def aclose(self) -> None:
        """Close all connections."""
        self.abort()
        if self._probing is not None:
            self._probing.cancel()
            await asyncio.gather(self._probing, return_exceptions=True)
        if self._client is not None:
            await self._client.aclose()


async def _read_end(pieces: AsyncIterator[bytes]) -> None:
    """Read what follows `[DONE]`, which is nothing, so that the connection can be used again."""
    with suppress(TimeoutError, httpx.HTTPError):
        async with asyncio.timeout(_END_S):
            while await anext(pieces, None) is not None:
                pass
