"""Serve the fake engine: the real app and server, without a model.

    python fake_server.py --port 8000 [--database-url sqlite:///FILE] [--log-content] [--plain]

With a database it has keys and a ledger, like `crossette serve`.
"""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from unittest.mock import patch

from crossette import log
from crossette.accounts.open import Accounts, open_accounts
from crossette.accounts.settings import AccountSettings
from crossette.api.app import App
from crossette.api.guards.admission import AdmissionController
from crossette.api.models import ServedModels
from crossette.observability.request_metrics import RequestCollector
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


def make_app(store: Accounts | None = None, *, is_plain: bool = False) -> App:
    """The app with the fake engine, and with the keys and the ledger of `store`. A plain one counts no requests."""
    engine = FakeEngine()
    models = ServedModels(ModelPool.of({engine.info.name: engine}))
    if store is not None:
        admissions = AdmissionController(key_accounts(store))
        return App(models, access=store.access, ledger=store.ledger, admissions=admissions, replica=store.replica)
    if not is_plain:
        return App(models)
    with patch.object(RequestCollector, "note", lambda *_: None):  # the app keeps what it finds there
        return App(models)


if __name__ == "__main__":
    main()
