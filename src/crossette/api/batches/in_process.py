"""Requests inside the process: the answer of an endpoint, through the same code as over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from crossette.accounts.access import ANONYMOUS, Caller
from crossette.accounts.ledger import NO_USAGE, Ledger
from crossette.api import middleware
from crossette.api.dialect import Dialect
from crossette.api.exchange import Exchange
from crossette.errors import ModelUnavailable, RetryLater, ServingError
from crossette.types import Usage

_ORDER = "crossette.order"
USER_AGENT = b"crossette-batch"


@dataclass(frozen=True, slots=True)
class Order:
    """A request to send: to which path, with which body, and for whom."""

    path: str
    body: bytes
    request_id: str
    batch_id: str
    key_id: str = ""


@dataclass(frozen=True, slots=True)
class InProcessAnswer:
    """The response to a request."""

    status: int
    request_id: str
    body: bytes
    usage: Usage
    retry_after: float | None
    """Seconds after which to send the request again: it was refused only for now."""


class InProcess:
    """Sends requests to a router with the rights and limits of a key.

    A request that is to be sent again, or that is cancelled, is in no log, metric or ledger: only its answer counts.
    """

    def __init__(
        self,
        router: ASGIApp,
        report: middleware.Report,
        ledger: Ledger,
        dialects: tuple[Dialect, ...],
        wire_of: middleware.WireOf,
        caller_of: Callable[[str], Caller] = lambda key_id: ANONYMOUS,
    ) -> None:
        self._caller_of = caller_of
        self._router = router
        self._report = report
        app = middleware.Guarded(self._identified, dialects, wire_of)
        self._app = middleware.Exchanges(app, self._report_answered, ledger, frozenset(), wire_of)

    async def send(self, order: Order) -> InProcessAnswer:
        scope = _scope(order)
        response = _Response(order.body)
        await self._app(scope, response.receive, response.send)
        exchange = Exchange.of(scope)
        return InProcessAnswer(
            exchange.status,
            exchange.request_id,
            bytes(response.body),
            exchange.answer.usage if exchange.answer is not None else NO_USAGE,
            _retry_after(exchange.error),
        )

    async def _identified(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange, order = Exchange.of(scope), scope[_ORDER]
        exchange.batch_id = order.batch_id
        exchange.caller = self._caller_of(order.key_id)
        await self._router(scope, receive, send)

    def _report_answered(self, scope: Scope) -> None:
        exchange = Exchange.of(scope)
        if exchange.is_started and _retry_after(exchange.error) is None:
            self._report(scope)


def _retry_after(error: ServingError | None) -> float | None:
    """A model that cannot be loaded is no reason to wait: an operator must act first."""
    if isinstance(error, RetryLater) and not isinstance(error, ModelUnavailable):
        return error.retry_after
    return None


def _scope(order: Order) -> Scope:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": order.path,
        "raw_path": order.path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(order.body)),
            (b"x-request-id", order.request_id.encode()),
            (b"user-agent", USER_AGENT),
        ],
        "client": None,
        "server": None,
        _ORDER: order,
    }


class _Response:
    """The two ends of a request: its body, and the response so far. Its client never disconnects."""

    def __init__(self, body: bytes) -> None:
        self.body = bytearray()
        self._request: bytes | None = body

    async def receive(self) -> Message:
        if self._request is None:
            await asyncio.get_running_loop().create_future()  # until the request ends
        body, self._request = self._request, None
        return {"type": "http.request", "body": body or b"", "more_body": False}

    async def send(self, message: Message) -> None:
        self.body += message.get("body", b"")
