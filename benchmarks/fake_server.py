"""Serve the fake engine: the real app and server, without a model.

    python fake_server.py --port 8000 [--database-url sqlite:///FILE] [--log-content] [--plain]

With a database it has keys and a ledger, like `crossette serve`.
"""

from __future__ import annotations

import argparse
import socket
from typing import Any

from crossette import log
from crossette.accounts.access import Authenticator
from crossette.accounts.ledger import Ledger
from crossette.accounts.limits import Limiter
from crossette.accounts.open import open_accounts
from crossette.accounts.settings import AccountSettings
from crossette.api.app import App
from crossette.api.exchange import Exchange
from crossette.api.guards.admission import AdmissionController
from crossette.api.models import ServedModels
from crossette.observability import request_log
from crossette.observability.record import RequestRecord
from crossette.pool.pool import ModelPool
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
    app_class = Plain if options.plain else App
    if options.database_url is None:
        run(listener, app_class)
    else:
        with open_accounts(AccountSettings(options.database_url, options.log_content)) as store:
            run(listener, app_class, access=store.access, ledger=store.ledger)


class Plain(App):
    """The app without metrics, to measure their cost."""

    def __init__(self, models: ServedModels, **more: Any) -> None:
        super().__init__(models, **more)
        self._observers = (request_log.note,)

    def _note(self, exchange: Exchange, record: RequestRecord) -> None:
        """Do nothing: there is no ledger."""


def run(
    listener: socket.socket, app_class: type[App], *, access: Authenticator | None = None, ledger: Ledger | None = None
) -> None:
    engine = FakeEngine()
    admissions = AdmissionController(Limiter(ledger.used_tokens)) if ledger is not None else None
    models = ServedModels(ModelPool.of({engine.info.name: engine}))
    app = app_class(models, access=access, ledger=ledger, admissions=admissions)
    DrainingServer(app, drain_timeout=5).run(sockets=[listener])


if __name__ == "__main__":
    main()
