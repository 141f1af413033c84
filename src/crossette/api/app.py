"""The ASGI application: middleware, routes, and the observers of finished requests."""

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
    """Serves models in both dialects. `drain()` rejects new requests and lets running ones finish.

    `begins_traces`: an observer creates spans, so every request that generates gets a trace id at its start.
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
            raise RuntimeError(f"This server supports HTTP, not {scope['type']}.")
        scope["app"] = self  # makes the router raise for an unknown path instead of responding in plain text
        await self._entry(scope, receive, send)

    def _through_middleware(
        self,
        app: ASGIApp,
        access: Authenticator,
        open_paths: frozenset[str],
        origins: OriginSettings,
        begins_traces: bool,
    ) -> ASGIApp:
        """Wrap `app` in its middleware, innermost first."""
        app = middleware.Authentication(app, access, open_paths)
        app = middleware.Origins(app, origins.cors_origin)
        app = middleware.Errors(app, self._dialects)  # inside CORS, so that pages can read the error
        app = with_cors(app, origins.cors_origin)
        app = middleware.Hosts(app, origins.allowed_host)  # outside CORS: rejected hosts get no CORS headers
        app = middleware.Errors(app, self._dialects)
        traced = frozenset(self._generating) if begins_traces else frozenset[str]()
        return middleware.Exchanges(app, self._report, self._ledger, traced)

    def _report(self, scope: Scope) -> None:
        """Pass the record of a finished request to all observers. Their errors are logged, never raised."""
        exchange = Exchange.of(scope)
        note_in_ledger: Observer = partial(self._note_in_ledger, exchange)
        try:
            record = self._record(exchange, self._patterns.get(scope.get("endpoint"), ""))
        except Exception:
            log.exception("A request was not recorded")
            return
        for observe in (*self._observers, note_in_ledger):
            try:
                observe(record)
            except Exception:
                log.exception("A request was not recorded")

    def _record(self, exchange: Exchange, route: str) -> RequestRecord:
        dialect = dialect_of(exchange.path, self._dialects)
        prefix = next((prefix for prefix in dialect.prefixes[::-1] if route.startswith(prefix + "/")), "")
        return record_of(exchange, route=route, dialect=dialect.name if prefix else "", prefix=prefix)

    def _note_in_ledger(self, exchange: Exchange, record: RequestRecord) -> None:
        """Add a request that generates to the ledger, even if it was rejected before it was routed."""
        dialect, endpoint = self._generating.get(record.path, ("", ""))
        if endpoint and record.method == "POST":
            served = self.models.name_of(record.model_asked)
            self._ledger.note(entry_of(exchange, record, dialect, endpoint, served))


def _metrics(models: ServedModels, ledger: Ledger) -> Metrics:
    metrics = Metrics(models.engines)
    metrics.gauge("ledger_lag_seconds", "Age of the oldest row that waits to be written.", lambda: ledger.stats().lag_s)
    metrics.gauge("ledger_rows_waiting", "Rows that wait to be written.", lambda: ledger.stats().waiting)
    metrics.counter("ledger_rows_written", "Rows that were written.", lambda: ledger.stats().written)
    metrics.counter("ledger_rows_lost", "Rows that could not be written.", lambda: ledger.stats().lost)
    return metrics
