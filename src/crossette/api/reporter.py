"""Passes the record of each finished request to the log, the metrics, the ledger and further observers."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from starlette.types import Scope

from crossette.accounts.ledger import Ledger
from crossette.api.account import entry_of
from crossette.api.dialect import Dialect, dialect_of
from crossette.api.endpoints import generating_paths
from crossette.api.exchange import Exchange
from crossette.api.models import ServedModels
from crossette.api.request_record import record_of
from crossette.observability.metrics import Metrics
from crossette.observability.record import Observer, RequestRecord

log = logging.getLogger(__name__)


class Reporter:
    """`patterns` are the path patterns of routes by their endpoints. Errors of observers are logged, never raised."""

    def __init__(
        self,
        observers: Sequence[Observer],
        ledger: Ledger | None,
        models: ServedModels,
        dialects: tuple[Dialect, ...],
        patterns: Mapping[Any, str],  # Any: what a route calls
    ) -> None:
        self._observers = observers
        self._ledger = ledger
        self._models = models
        self._dialects = dialects
        self._patterns = patterns
        self._generating = generating_paths(dialects)

    def report(self, scope: Scope) -> None:
        """Report a finished request."""
        exchange = Exchange.of(scope)
        observers = self._observers
        if self._ledger is not None:
            observers = (*observers, partial(self._note_in_ledger, exchange, self._ledger))
        try:
            record = self._record(exchange, self._patterns.get(scope.get("endpoint"), ""))
        except Exception:
            log.exception("A request was not recorded")
            return
        for observe in observers:
            try:
                observe(record)
            except Exception:
                log.exception("A request was not recorded")

    def _record(self, exchange: Exchange, route: str) -> RequestRecord:
        dialect = dialect_of(exchange.path, self._dialects)
        prefix = dialect.prefix if route.startswith(dialect.prefix + "/") else ""
        return record_of(exchange, route=route, dialect=dialect.name if prefix else "", prefix=prefix)

    def _note_in_ledger(self, exchange: Exchange, ledger: Ledger, record: RequestRecord) -> None:
        """Add a request that generates to the ledger, even if it was rejected before it was routed."""
        dialect, endpoint = self._generating.get(exchange.path, ("", ""))
        if endpoint and record.method == "POST":
            served = self._models.name_of(record.model_asked)
            ledger.note(entry_of(exchange, record, dialect, endpoint, served))


def add_ledger_metrics(metrics: Metrics, ledger: Ledger) -> None:
    metrics.gauge("ledger_lag_seconds", "Age of the oldest row that waits to be written.", lambda: ledger.stats().lag_s)
    metrics.gauge("ledger_rows_waiting", "Rows that wait to be written.", lambda: ledger.stats().waiting)
    metrics.counter("ledger_rows_written", "Rows that were written.", lambda: ledger.stats().written)
    metrics.counter("ledger_rows_lost", "Rows that could not be written.", lambda: ledger.stats().lost)
