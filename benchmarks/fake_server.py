"""Serve the fake engine: the real app and server, without a model.

    python fake_server.py --port 8000 [--database-url sqlite:///FILE] [--log-content] [--plain]

With a database it has keys and a ledger, like `crossette serve`.
"""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from typing import Any

from crossette import log
from crossette.accounts.open import Accounts, open_accounts
from crossette.accounts.settings import AccountSettings
from crossette.api.app import App
from crossette.api.exchange import Exchange
from crossette.api.guards.admission import AdmissionController
from crossette.api.models import ServedModels
from crossette.observability import request_log
from crossette.observability.record import RequestRecord
from crossette.pool.pool import ModelPool
from crossette.server.build import key_accounts
from crossette.server.draining import DrainingServer
from crossette.server.listener import bind
from crossette.testing.fake_engine import FakeEngine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--database-url")
    parser.add_argument("--log-content", action="store_true")
    parser.add_argument("--plain", action="store_true", help="without metrics")
    options = parser.parse_args()
    log.configure("info")  # like `crossette serve`: the request log is part of the measured cost
    listener = bind("127.0.0.1", options.port)
    with ExitStack() as stack:
        store = None
        if options.database_url is not None:
            store = stack.enter_context(open_accounts(AccountSettings(options.database_url, options.log_content)))
        DrainingServer(make_app(store, is_plain=options.plain), drain_timeout=5).run(sockets=[listener])


class Plain(App):
    """The app without metrics, to measure their cost."""

    def __init__(self, models: ServedModels, **more: Any) -> None:
        super().__init__(models, **more)
        self._observers = (request_log.note,)

    def _note(self, exchange: Exchange, record: RequestRecord) -> None:
        """Do nothing: there is no ledger."""


def make_app(store: Accounts | None = None, *, is_plain: bool = False) -> App:
    """The app with the fake engine, and with the keys and the ledger of `store`."""
    engine = FakeEngine()
    models = ServedModels(ModelPool.of({engine.info.name: engine}))
    app_class = Plain if is_plain else App
    if store is None:
        return app_class(models)
    admissions = AdmissionController(key_accounts(store))
    return app_class(models, access=store.access, ledger=store.ledger, admissions=admissions, replica=store.replica)


if __name__ == "__main__":
    main()
