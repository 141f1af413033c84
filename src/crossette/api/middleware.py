"""What every request passes on its way to a route, one concern each, as ASGI middleware."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from crossette import log as logs
from crossette.accounts.access import ANONYMOUS, Authenticator
from crossette.accounts.ledger import Ledger
from crossette.api.content import Content
from crossette.api.dialect import Dialect, dialect_of
from crossette.api.exchange import Exchange
from crossette.api.guards.admission import admission_headers, end_admission
from crossette.api.guards.credentials import key_of
from crossette.api.guards.origins import check_host, check_origin
from crossette.api.guards.rate_limit_headers import retry_headers
from crossette.api.http import ClientGone, as_serving_error, error_body, json_response
from crossette.errors import MethodNotAllowed, NotFound, RequestTimeout, ServingError, Unauthorized
from crossette.observability.metrics import CLIENT_CLOSED_REQUEST

log = logging.getLogger(__name__)

Report = Callable[[Scope], None]
"""Who is told of a request that has ended, by its scope."""


class Exchanges:
    """Makes the exchange of a request, names it in the log and in its response, and tells of it when it has ended."""

    def __init__(self, app: ASGIApp, tell: Report, ledger: Ledger, traced_paths: frozenset[str]) -> None:
        self._app = app
        self._tell = tell
        self._ledger = ledger
        self._traced_paths = traced_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(scope)
        scope["path"] = exchange.path
        if self._ledger.keeps_content:
            exchange.content = Content()
            receive, send = exchange.content.receiving(receive), exchange.content.sending(send)
        if exchange.path in self._traced_paths:
            exchange.begin_trace()
        with logs.ids(exchange.request_id, exchange.trace_id):
            try:
                await self._app(scope, receive, _naming(exchange, send))
            finally:
                end_admission(exchange)
                self._tell(scope)


def _naming(exchange: Exchange, send: Send) -> Send:
    async def named(message: Message) -> None:
        if message["type"] == "http.response.start":
            exchange.status = message["status"]
            name = (b"x-request-id", exchange.request_id.encode())
            message["headers"] = [*message["headers"], name, *admission_headers(exchange)]
        await send(message)

    return named


class Errors:
    """Answers what is raised behind it, in the words of the path's dialect."""

    def __init__(self, app: ASGIApp, dialects: tuple[Dialect, ...]) -> None:
        self._app = app
        self._dialects = dialects

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange.of(scope)
        try:
            await self._app(scope, receive, send)
        except ClientGone:
            exchange.status = CLIENT_CLOSED_REQUEST
        except Exception as error:
            if exchange.is_started:  # too late for an answer: the connection is closed without an end
                raise
            exchange.error = _translated(error, scope)
            await self._response(exchange.error, exchange)(scope, receive, send)

    def _response(self, error: ServingError, exchange: Exchange) -> Response:
        headers = retry_headers(error)
        if isinstance(error, MethodNotAllowed):
            headers = {"allow": error.allow}
        elif isinstance(error, RequestTimeout):
            headers = {"connection": "close"}  # or the slow body could hold it for ever
        elif isinstance(error, Unauthorized):
            headers = {"www-authenticate": "Bearer"}
        body = error_body(error, dialect_of(exchange.path, self._dialects), exchange.request_id)
        return json_response(body, status=error.status, headers=headers)


class Hosts:
    """Refuses requests that ask for a name which is not the server's."""

    def __init__(self, app: ASGIApp, allowed: Sequence[str]) -> None:
        self._app = app
        self._allowed = allowed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        check_host(scope, self._allowed)
        await self._app(scope, receive, send)


class Origins:
    """Refuses web pages from elsewhere."""

    def __init__(self, app: ASGIApp, allowed: Sequence[str]) -> None:
        self._app = app
        self._allowed = allowed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        check_origin(scope, self._allowed)
        await self._app(scope, receive, send)


class Authentication:
    """Finds out who asks; some paths are open to all."""

    def __init__(self, app: ASGIApp, access: Authenticator, open_paths: frozenset[str]) -> None:
        self._app = app
        self._access = access
        self._open_paths = open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange.of(scope)
        is_open = exchange.path in self._open_paths
        exchange.caller = ANONYMOUS if is_open else self._access.caller(key_of(exchange.headers))
        await self._app(scope, receive, send)


def _translated(error: Exception, scope: Scope) -> ServingError:
    """Any exception as an error that can be answered."""
    if not isinstance(error, HTTPException):
        return as_serving_error(error)
    asked = f"{scope['method']} {scope['path']}"
    if error.status_code == 405:
        allow = ", ".join(sorted((error.headers or {}).get("Allow", "").split(", ")))
        return MethodNotAllowed(f"{asked}: this path answers {allow}.", allow=allow)
    return NotFound(
        f"Path not found: {asked}. OpenAI's API is under /v1, Fireworks' under /inference/v1.",
    )
