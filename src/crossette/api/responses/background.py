"""Responses that are generated after their request was answered.

Each is a request of its own to this app, so that limits, ledger, log and metrics are those of any other request.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.types import ASGIApp, Message, Scope

from crossette.api.exchange import ANSWER_ID
from crossette.errors import Overloaded

MAX_RUNS = 256
"""The most responses that run or wait in the background."""
_RETRIED = (429, 503)
_MAX_WAIT_S = 60.0
_LEFT_OUT = (b"content-length", b"content-encoding", b"content-type", b"accept-encoding", b"x-request-id")

Failed = Callable[[str, str], Awaitable[None]]
"""Called with the status of a response that did not complete, and the reason."""
Alive = Callable[[], Awaitable[None]]
"""Runs while a response is generated. Returns once it is not wanted any more."""


class BackgroundRuns:
    """The responses that this process generates in the background, by id."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._cancelled: set[str] = set()

    def start(self, response_id: str, app: ASGIApp, scope: Scope, body: bytes, failed: Failed, alive: Alive) -> None:
        """Generate a response, while `alive` runs. Raises Overloaded if too many run."""
        if len(self._tasks) >= MAX_RUNS:
            raise Overloaded(f"{MAX_RUNS} responses run in the background. Retry later.", retry_after=10.0)
        run = self._run(response_id, app, _inner(scope, response_id), body, failed, alive)
        self._tasks[response_id] = task = asyncio.create_task(run)
        task.add_done_callback(lambda _: self._tasks.pop(response_id, None))

    async def cancel(self, response_id: str) -> bool:
        """Cancel a response, and wait for its end. Returns whether it ran here."""
        task = self._tasks.get(response_id)
        if task is None:
            return False
        self._cancelled.add(response_id)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        self._cancelled.discard(response_id)
        return True

    async def _run(
        self, response_id: str, app: ASGIApp, scope: Scope, body: bytes, failed: Failed, alive: Alive
    ) -> None:
        living = asyncio.ensure_future(alive())
        answering = asyncio.ensure_future(_answered(app, scope, body))
        try:
            await asyncio.wait({living, answering}, return_when=asyncio.FIRST_COMPLETED)
            if not answering.done():  # another server has stored that it was cancelled or deleted
                return
            status, answer = answering.result()
            if status != 200:
                await failed("failed", json.loads(answer)["error"]["message"])
        except asyncio.CancelledError:
            await _end(answering)
            if response_id in self._cancelled:
                await failed("cancelled", "")
            else:
                await failed("failed", "The server was shut down.")
            raise
        finally:
            await _end(living, answering)


async def _end(*tasks: asyncio.Future[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _inner(scope: Scope, response_id: str) -> Scope:
    """The scope of the request in the background, with the key of the request that began it."""
    headers = [(name, value) for name, value in scope["headers"] if name not in _LEFT_OUT]
    kept = {name: scope[name] for name in ("type", "http_version", "scheme", "server", "client") if name in scope}
    return {
        **kept,
        "method": "POST",
        "path": scope["path"],
        "raw_path": scope["path"].encode(),
        "root_path": "",
        "query_string": b"",
        "headers": headers,
        ANSWER_ID: response_id,
    }


async def _answered(app: ASGIApp, scope: Scope, body: bytes) -> tuple[int, bytes]:
    """Status and body of the answer, once the limits of the key and the queue let the request in."""
    while True:
        status, headers, answer = await _call(app, dict(scope), body)
        if status not in _RETRIED or b"retry-after" not in headers:
            return status, answer
        await asyncio.sleep(min(_MAX_WAIT_S, float(headers[b"retry-after"])))


async def _call(app: ASGIApp, scope: Scope, body: bytes) -> tuple[int, dict[bytes, bytes], bytes]:
    sent: list[Message] = []
    received = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        if received:
            return received.pop()
        await asyncio.Event().wait()
        raise AssertionError("nothing sets it")

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    content = b"".join(message.get("body", b"") for message in sent[1:])
    return sent[0]["status"], dict(sent[0]["headers"]), content
