"""The ASGI application: middleware around a table of routes, and who is told of a request at its end."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from typing import Any

from starlette.routing import Router
from starlette.types import ASGIApp, Receive, Scope, Send

from crossette.accounts.access import Authenticator, NoAuthentication
from crossette.accounts.ledger import Ledger, NoLedger
from crossette.api import middleware, routes
from crossette.api.account import entry_of
from crossette.api.dialect import FIREWORKS, OPENAI, Dialect, dialect_of
from crossette.api.exchange import Exchange
from crossette.api.grammar_pool import GrammarPool
from crossette.api.guards.admission import AdmissionController
from crossette.api.guards.origins import OriginSettings, with_cors
from crossette.api.http import HttpSettings
from crossette.api.models import ServedModels
from crossette.api.request_record import record_of
from crossette.api.services import Services
from crossette.api.usage import UsageReader
from crossette.observability import request_log
from crossette.observability.metrics import Metrics
from crossette.observability.record import Observer, RequestRecord

log = logging.getLogger(__name__)


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
        access: Authenticator | None = None,
        ledger: Ledger | None = None,
        admissions: AdmissionController | None = None,
        grammars: GrammarPool | None = None,
        usage: UsageReader | None = None,
        origins: OriginSettings | None = None,
        observers: Sequence[Observer] = (),
        begins_traces: bool = False,
    ) -> None:
        self.models = models
        self._ledger = ledger or NoLedger()
        self.metrics = _metrics(models, self._ledger)
        self._observers = (request_log.note, self.metrics.note, *observers)
        self._dialects = dialects
        self._is_draining = False
        self.services = Services(
            models,
            settings or HttpSettings(),
            dialects,
            admissions or AdmissionController(),
            self._ledger,
            self.metrics,
            is_draining=lambda: self._is_draining,
            usage=usage or UsageReader(self._ledger),
            grammars=grammars or GrammarPool(),
        )
        open_routes = routes.open_routes(self.services)
        self.routes = [*open_routes, *routes.closed_routes(self.services)]
        self._patterns: dict[Any, str] = {route.endpoint: route.path for route in self.routes}
        self._generating = routes.generating_paths(dialects)
        self._entry = self._through_middleware(
            Router(self.routes, redirect_slashes=False),
            access or NoAuthentication(),
            frozenset(route.path for route in open_routes),
            origins or OriginSettings(),
            begins_traces,
        )

    def drain(self) -> None:
        self._is_draining = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"This server speaks HTTP, not {scope['type']}.")
        scope["app"] = self  # the router then raises for an unknown path, where it would answer in plain text
        await self._entry(scope, receive, send)

    def _through_middleware(
        self,
        app: ASGIApp,
        access: Authenticator,
        open_paths: frozenset[str],
        origins: OriginSettings,
        begins_traces: bool,
    ) -> ASGIApp:
        """From the inside out."""
        app = middleware.Authentication(app, access, open_paths)
        app = middleware.Origins(app, origins.cors_origin)
        app = middleware.Errors(app, self._dialects)  # within CORS, so that pages may read what was wrong
        app = with_cors(app, origins.cors_origin)
        app = middleware.Hosts(app, origins.allowed_host)  # pages of another name are not told what they may ask
        app = middleware.Errors(app, self._dialects)
        traced = frozenset(self._generating) if begins_traces else frozenset[str]()
        return middleware.Exchanges(app, self._tell, self._ledger, traced)

    def _tell(self, scope: Scope) -> None:
        """Tell those who keep count that a request has ended. What fails in them is not the request's affair."""
        exchange = Exchange.of(scope)
        note: Observer = partial(self._note, exchange)
        try:
            record = self._record(exchange, self._patterns.get(scope.get("endpoint"), ""))
        except Exception:
            log.exception("A request was not counted")
            return
        for tell in (*self._observers, note):
            try:
                tell(record)
            except Exception:
                log.exception("A request was not counted")

    def _record(self, exchange: Exchange, route: str) -> RequestRecord:
        dialect = dialect_of(exchange.path, self._dialects)
        prefix = next((prefix for prefix in dialect.prefixes[::-1] if route.startswith(prefix + "/")), "")
        return record_of(exchange, route=route, dialect=dialect.name if prefix else "", prefix=prefix)

    def _note(self, exchange: Exchange, record: RequestRecord) -> None:
        """Tell the ledger of a request for an answer, also if it was refused before it was routed."""
        dialect, endpoint = self._generating.get(record.path, ("", ""))
        if endpoint and record.method == "POST":
            served = self.models.name_of(record.model_asked)
            self._ledger.note(entry_of(exchange, record, dialect, endpoint, served))


def _metrics(models: ServedModels, ledger: Ledger) -> Metrics:
    metrics = Metrics(models.engines)
    metrics.gauge("ledger_lag_seconds", "How long the oldest row waits to be written.", lambda: ledger.stats().lag_s)
    metrics.gauge("ledger_rows_waiting", "Rows that wait to be written.", lambda: ledger.stats().waiting)
    metrics.counter("ledger_rows_written", "Rows that were written.", lambda: ledger.stats().written)
    metrics.counter("ledger_rows_lost", "Rows that never will be.", lambda: ledger.stats().lost)
    return metrics
