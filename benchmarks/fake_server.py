"""The front alone: the real app and server before an engine without a model.

    python fake_server.py --port 8000 [--database-url sqlite:///FILE] [--log-content]

With a database it has keys and a ledger, as `crossette serve` always has.
"""

from __future__ import annotations

import argparse
import socket

from crossette import log, serve
from crossette.access import Access
from crossette.api.app import App
from crossette.api.models import ServedModels
from crossette.engines.fake import FakeEngine
from crossette.ledger import Ledger
from crossette.store.open import open_store
from crossette.store.settings import StoreSettings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--database-url")
    parser.add_argument("--log-content", action="store_true")
    options = parser.parse_args()
    log.configure("info")  # as `crossette serve` does: a line for each request is part of what the front costs
    listener = serve.bind("127.0.0.1", options.port)
    if options.database_url is None:
        run(listener)
    else:
        with open_store(StoreSettings(options.database_url, options.log_content)) as store:
            run(listener, access=store.access, ledger=store.ledger)


def run(listener: socket.socket, *, access: Access | None = None, ledger: Ledger | None = None) -> None:
    engine = FakeEngine()
    app = App(ServedModels({engine.info.name: engine}), access=access, ledger=ledger)
    serve.DrainingServer(app, engine, drain_timeout=5).run(sockets=[listener])


if __name__ == "__main__":
    main()
