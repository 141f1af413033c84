"""The ASGI application: routes mounted once per dialect, request ids, and the one map from error to answer."""

from __future__ import annotations

import logging
import re
import uuid
from collections.abc import Sequence
from functools import partial
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, Router
from starlette.types import Message, Receive, Scope, Send

from crossette import log as logs
from crossette import request_log
from crossette.access import ANONYMOUS, Access, Open
from crossette.api import chat, completions, health
from crossette.api.account import Content, entry_of
from crossette.api.admission import Gate, end_visit, visit_headers
from crossette.api.credentials import key_of
from crossette.api.dialect import FIREWORKS, OPENAI, Dialect, dialect_of
from crossette.api.docs import Docs
from crossette.api.generate import Endpoint, Ids, create
from crossette.api.http import ClientGone, HttpSettings, as_serving_error, error_body, json_response
from crossette.api.limit_headers import retry_headers
from crossette.api.models import ServedModels, list_models, retrieve_model
from crossette.api.origins import OriginSettings, check_host, check_origin, with_cors
from crossette.api.schema.chat import ChatRequest
from crossette.api.schema.completions import CompletionRequest
from crossette.api.usage import report_usage
from crossette.api.watch import Watch
from crossette.errors import (
    Forbidden,
    MethodNotAllowed,
    NotFound,
    RequestTimeout,
    ServingError,
    ShuttingDown,
    Unauthorized,
)
from crossette.ledger import Ledger, NoLedger
from crossette.metrics import CLIENT_GONE, Metrics
from crossette.record import Observer, RequestRecord
from crossette.text.structured import mismatches

log = logging.getLogger(__name__)


COMPLETIONS = Endpoint(CompletionRequest, completions.prepare, completions.CompletionReply)
CHAT = Endpoint(ChatRequest, chat.prepare, chat.ChatReply)

_CALLER_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


class App:
    """Serves models in both dialects. `drain()` refuses new work and lets running work end.

    `begins_traces`: an observer makes spans, so a request for an answer belongs to a trace from its beginning.
    """

    def __init__(
        self,
        models: ServedModels,
        settings: HttpSettings | None = None,
        dialects: tuple[Dialect, ...] = (OPENAI, FIREWORKS),
        *,
        access: Access | None = None,
        ledger: Ledger | None = None,
        gate: Gate | None = None,
        origins: OriginSettings | None = None,
        observers: Sequence[Observer] = (),
        begins_traces: bool = False,
    ) -> None:
        self.models = models
        self._access = access or Open()
        self._ledger = ledger or NoLedger()
        self.metrics = _metrics(models, self._ledger)
        self._observers = (request_log.note, self.metrics.note, *observers)
        self._begins_traces = begins_traces
        self._settings = settings or HttpSettings()
        self._dialects = dialects
        self._gate = gate or Gate()
        self._origins = origins or OriginSettings()
        self._entry = with_cors(self._answer, self._origins.cors_origin)
        self._draining = False
        docs = Docs(models, dialects)
        routes: list[BaseRoute] = [
            Route("/openapi.json", docs.json),
            Route("/docs", docs.page),
            Route("/health/live", partial(health.live, models=models)),
            Route("/health/ready", self._ready),
        ]
        self._open_paths = {route.path for route in routes if isinstance(route, Route)}
        routes.append(Route("/metrics", partial(health.metrics, metrics=self.metrics)))
        self._accounted: dict[str, tuple[str, str]] = {}
        for dialect in dialects:
            for prefix in dialect.prefixes:
                routes += self._routes(prefix, dialect)
        self.routes = routes
        self._patterns: dict[Any, str] = {route.endpoint: route.path for route in routes if isinstance(route, Route)}
        self._router = Router(routes, redirect_slashes=False)

    def drain(self) -> None:
        self._draining = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"This server speaks HTTP, not {scope['type']}.")
        await self._exchange(scope, receive, send)

    async def _exchange(self, scope: Scope, receive: Receive, send: Send) -> None:
        content = Content() if self._ledger.keeps_content else None
        if content is not None:
            receive, send = content.receiving(receive), content.sending(send)
        exchange = _Exchange(scope, send)
        if self._begins_traces and exchange.path in self._accounted:
            exchange.watch.begin_trace()
        with logs.ids(exchange.request_id, exchange.watch.trace_id):
            try:
                await self._enter(exchange, scope, receive)
            finally:
                end_visit(scope.get("state", {}), exchange.watch.error)
                self._tell(exchange, scope, content)

    async def _enter(self, exchange: _Exchange, scope: Scope, receive: Receive) -> None:
        """Answer a request that is for this server: pages of another name are not even told what they may ask."""
        scope["app"] = self  # the router then raises for an unknown path, where it would answer in plain text
        scope["path"] = exchange.path
        try:
            check_host(scope, self._origins.allowed_host)
        except Forbidden as error:
            await self._refuse(error, exchange, scope, receive, exchange.send)
        else:
            await self._entry(scope, receive, exchange.send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Route the request, and answer what was raised on the way."""
        exchange: _Exchange = scope["crossette.exchange"]
        try:
            check_origin(scope, self._origins.cors_origin)
            self._let_in(exchange.path, scope)
            await self._router(scope, receive, send)
        except ClientGone:
            exchange.status = CLIENT_GONE
        except Exception as error:
            if exchange.started:  # too late for an answer: the connection is closed without an end
                raise
            await self._refuse(_translated(error, scope), exchange, scope, receive, send)

    async def _refuse(
        self, error: ServingError, exchange: _Exchange, scope: Scope, receive: Receive, send: Send
    ) -> None:
        exchange.watch.error = error
        await self._error_response(error, exchange)(scope, receive, send)

    def _tell(self, exchange: _Exchange, scope: Scope, content: Content | None) -> None:
        """Tell those who keep count that a request has ended. What fails in them is not the request's affair."""
        note: Observer = partial(self._note, scope=scope, content=content)
        try:
            record = self._record(exchange, scope)
        except Exception:
            log.exception("A request was not counted")
            return
        for tell in (*self._observers, note):
            try:
                tell(record)
            except Exception:
                log.exception("A request was not counted")

    def _record(self, exchange: _Exchange, scope: Scope) -> RequestRecord:
        route = self._patterns.get(scope.get("endpoint"), "")
        dialect = dialect_of(exchange.path, self._dialects)
        prefix = next((prefix for prefix in dialect.prefixes[::-1] if route.startswith(prefix + "/")), "")
        return exchange.watch.record(
            exchange.request_id, exchange.path, route, dialect.name if prefix else "", prefix, exchange.status
        )

    def _let_in(self, path: str, scope: Scope) -> None:
        """Say in `state` who asks. Raises Unauthorized for a path that is not open to all."""
        caller = ANONYMOUS if path in self._open_paths else self._access.caller(key_of(scope))
        scope.setdefault("state", {})["caller"] = caller

    def _note(self, record: RequestRecord, scope: Scope, content: Content | None) -> None:
        """Tell the ledger of a request for an answer, also if it was refused before it was routed."""
        dialect, endpoint = self._accounted.get(record.path, ("", ""))
        if endpoint and record.method == "POST":
            served = self.models.name_of(record.model_asked)
            self._ledger.note(entry_of(record, dialect, endpoint, scope, content, served))

    def _error_response(self, error: ServingError, exchange: _Exchange) -> Response:
        dialect = dialect_of(exchange.path, self._dialects)
        headers = retry_headers(error)
        if isinstance(error, MethodNotAllowed):
            headers = {"allow": error.allow}
        elif isinstance(error, RequestTimeout):
            headers = {"connection": "close"}  # or the slow body could hold it for ever
        elif isinstance(error, Unauthorized):
            headers = {"www-authenticate": "Bearer"}
        return json_response(error_body(error, dialect, exchange.request_id), status=error.status, headers=headers)

    def _routes(self, prefix: str, dialect: Dialect) -> list[BaseRoute]:
        generate = partial(self._generate, dialect)
        for path in ("/completions", "/chat/completions"):
            self._accounted[prefix + path] = (dialect.name, path)
        return [
            Route(f"{prefix}/completions", partial(generate, COMPLETIONS), methods=["POST"]),
            Route(f"{prefix}/chat/completions", partial(generate, CHAT), methods=["POST"]),
            Route(f"{prefix}/usage", partial(report_usage, ledger=self._ledger)),
            Route(f"{prefix}/models", partial(list_models, models=self.models)),
            Route(f"{prefix}/models/{{name:path}}", partial(retrieve_model, models=self.models)),
        ]

    async def _generate(self, dialect: Dialect, endpoint: Endpoint[Any], request: Request) -> Response:
        if self._draining:
            raise ShuttingDown("The server is shutting down. Retry in a moment.")
        ids: Ids = request.scope["crossette.ids"]
        caller = request.state.caller
        request.state.visit = visit = self._gate.visit(caller, dialect)
        visit.enter()
        models = self.models.only(caller.models)
        return await create(request, endpoint, models, dialect, self._settings, ids, visit)

    async def _ready(self, request: Request) -> Response:
        return await health.ready(request, self.models, self._ledger, draining=self._draining)


class _Exchange:
    """One request and its response: ids, and what was sent."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self._send = send
        self._scope = scope
        self.watch = Watch(scope)
        self.path = scope["path"].rstrip("/") or "/"
        self.started = False
        self.status = 0
        answer_id = _answer_id(self.path)
        self.request_id = _caller_id(scope) or answer_id
        scope["crossette.ids"] = Ids(answer_id, self.request_id)
        scope["crossette.exchange"] = self

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            self.status = message["status"]
            told = visit_headers(self._scope.get("state", {}))
            message["headers"] = [*message["headers"], (b"x-request-id", self.request_id.encode()), *told]
        await self._send(message)


def _metrics(models: ServedModels, ledger: Ledger) -> Metrics:
    metrics = Metrics(models.engines)
    metrics.gauge("ledger_lag_seconds", "How long the oldest row waits to be written.", lambda: ledger.stats().lag_s)
    metrics.gauge("ledger_rows_waiting", "Rows that wait to be written.", lambda: ledger.stats().waiting)
    metrics.counter("ledger_rows_written", "Rows that were written.", lambda: ledger.stats().written)
    metrics.counter("ledger_rows_lost", "Rows that never will be.", lambda: ledger.stats().lost)
    metrics.counter(
        "structured_output_mismatches",
        "Answers that broke the schema that they were held to.",
        lambda: mismatches.count,
    )
    return metrics


def _answer_id(path: str) -> str:
    kind = "chatcmpl-" if path.endswith("/chat/completions") else "cmpl-" if path.endswith("/completions") else "req-"
    return kind + uuid.uuid4().hex


def _caller_id(scope: Scope) -> str | None:
    """The caller's own id for the request, if it is fit for a header and a log."""
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            text: str = value.decode("latin-1")
            return text if _CALLER_ID.fullmatch(text) else None
    return None


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
