"""The front alone: the real app and server before an engine without a model. `python fake_server.py --port 8000`"""

from __future__ import annotations

import argparse

from crossette import log, serve
from crossette.api.app import App
from crossette.api.models import ServedModels
from crossette.engines.fake import FakeEngine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    engine = FakeEngine()
    log.configure("info")  # as `crossette serve` does: a line for each request is part of what the front costs
    server = serve.DrainingServer(App(ServedModels({engine.info.name: engine})), engine, drain_timeout=5)
    server.run(sockets=[serve.bind("127.0.0.1", parser.parse_args().port)])


if __name__ == "__main__":
    main()
