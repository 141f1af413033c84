"""ASGI middleware for all requests: ids and records, errors, host names, origins, keys."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence

from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from crossette import log as logs
from crossette.accounts.access import ANONYMOUS, Authenticator
from crossette.accounts.ledger import Ledger
from crossette.api.content import Content
from crossette.api.content_coding import ACCEPTED
from crossette.api.dialect import Dialect, dialect_of
from crossette.api.exchange import Exchange
from crossette.api.guards.admission import admission_headers, end_admission
from crossette.api.guards.credentials import key_of
from crossette.api.guards.rate_limit_headers import retry_headers
from crossette.api.http import ClientDisconnected, as_serving_error, json_response
from crossette.api.wire import Wire
from crossette.errors import (
    MethodNotAllowed,
    RequestTimeout,
    ServingError,
    Unauthorized,
    UnsupportedCoding,
)
from crossette.observability.metrics import CLIENT_CLOSED_REQUEST

log = logging.getLogger(__name__)

Report = Callable[[Scope], None]
"""Called with the scope of each finished request."""
WireOf = Callable[[str], Wire]
"""The wire format of a path."""
Check = Callable[[Exchange], None]
"""Raises what a request is refused with."""


class Exchanges:
    """Creates the exchange of a request, sets its ids in log and response headers, and reports it at its end."""

    def __init__(
        self,
        app: ASGIApp,
        report: Report,
        ledger: Ledger,
        traced_paths: frozenset[str],
        wire_of: WireOf,
        own_headers: Callable[[], Iterable[tuple[bytes, bytes]]] = lambda: (),
    ) -> None:
        self._app = app
        self._report = report
        self._wire_of = wire_of
        self._ledger = ledger
        self._traced_paths = traced_paths
        self._own_headers = own_headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(scope)
        scope["path"] = exchange.path
        if self._ledger.keeps_content:
            exchange.content = Content()
            receive, send = exchange.content.receiving(receive), exchange.content.sending(send)
        if exchange.path in self._traced_paths:
            exchange.begin_trace()
        exchange.send_body = send
        tokens = logs.set_ids(exchange.request_id, exchange.trace_id)
        try:
            wire = self._wire_of(exchange.path)
            await self._app(scope, receive, _with_headers(exchange, send, wire, self._own_headers))
        finally:
            end_admission(exchange)
            self._report(scope)
            logs.reset_ids(tokens)


def _with_headers(
    exchange: Exchange, send: Send, wire: Wire, own_headers: Callable[[], Iterable[tuple[bytes, bytes]]]
) -> Send:
    """`send`, with the request id, the rate limit headers and the server's own headers added to the response."""

    async def extended(message: Message) -> None:
        if message["type"] == "http.response.start":
            exchange.status = message["status"]
            ids = [(name.encode(), exchange.request_id.encode()) for name in wire.id_headers]
            notes = [(note.encode(), text.encode()) for note, text in exchange.notes.items()]
            message["headers"] = [*message["headers"], *ids, *admission_headers(exchange), *notes, *own_headers()]
        await send(message)

    return extended


class Guarded:
    """An app behind checks, each of which raises what it refuses.

    Converts all exceptions to error responses in the dialect and the wire format of the path.
    """

    def __init__(
        self, app: ASGIApp, dialects: tuple[Dialect, ...], wire_of: WireOf, checks: Sequence[Check] = ()
    ) -> None:
        self._app = app
        self._dialects = dialects
        self._wire_of = wire_of
        self._checks = checks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange.of(scope)
        try:
            for check in self._checks:
                check(exchange)
            await self._app(scope, receive, send)
        except ClientDisconnected:
            exchange.status = CLIENT_CLOSED_REQUEST
        except Exception as error:
            if exchange.is_started:  # too late for an error response: the connection is closed
                raise
            exchange.error = _serving_error(error, scope)
            await self._response(exchange.error, exchange)(scope, receive, send)

    def _response(self, error: ServingError, exchange: Exchange) -> Response:
        headers = retry_headers(error)
        if isinstance(error, MethodNotAllowed):
            headers = {"allow": error.allow}
        elif isinstance(error, RequestTimeout):
            headers = {"connection": "close"}  # or the slow upload could hold it open for ever
        elif isinstance(error, Unauthorized):
            headers = {"www-authenticate": "Bearer"}
        elif isinstance(error, UnsupportedCoding):
            headers = {"accept-encoding": ACCEPTED}
        dialect, wire = dialect_of(exchange.path, self._dialects), self._wire_of(exchange.path)
        body = wire.error_body(error, dialect, exchange.request_id)
        return json_response(body, status=error.status, headers=headers)


def authentication(access: Authenticator, open_paths: frozenset[str]) -> Check:
    """A check that sets the caller of a request, except on open paths."""

    def authenticate(exchange: Exchange) -> None:
        is_open = exchange.path in open_paths
        exchange.caller = ANONYMOUS if is_open else access.caller(key_of(exchange.headers))

    return authenticate


def _serving_error(error: Exception, scope: Scope) -> ServingError:
    """Any exception as a `ServingError`. The only `HTTPException` is the router's 405."""
    if not isinstance(error, HTTPException):
        return as_serving_error(error)
    allow = ", ".join(sorted((error.headers or {}).get("Allow", "").split(", ")))
    return MethodNotAllowed(f"{scope['method']} {scope['path']}: this path allows {allow}.", allow=allow)
