"""A replica in a process of its own: the real app and server with the fake engine, and settings from the environment.

As a program: `python -m support.replica_server PACE`, with the seconds of a step of the engine.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from crossette.testing.fake_engine import FakeEngine

TESTS = Path(__file__).parents[1]
LIMIT_S = 60
CLIENT = httpx.Client(timeout=LIMIT_S, verify=False)


@dataclass
class ReplicaServer:
    """A running replica."""

    name: str
    port: int
    process: subprocess.Popen[str]

    @property
    def root(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and wait for the end."""
        self.process.send_signal(how)
        return self.process.wait(LIMIT_S)

    def num_running(self) -> int:
        """The requests in its engine."""
        models = CLIENT.get(f"{self.root}/health/ready").json()["models"]
        return sum(model["stats"]["running"] + model["stats"]["waiting"] for model in models)


@contextmanager
def replica(name: str, *, port: int = 0, pace_s: float = 0.0, **settings: str | float) -> Iterator[ReplicaServer]:
    """A replica with these settings, as in the environment: `drain_delay=1` is CROSSETTE_DRAIN_DELAY=1."""
    environ = {f"CROSSETTE_{setting.upper()}": str(value) for setting, value in settings.items()}
    path = os.pathsep.join([str(TESTS), *sys.path])
    process = subprocess.Popen(
        [sys.executable, "-m", "support.replica_server", str(pace_s)],
        env={**os.environ, "PYTHONPATH": path, "CROSSETTE_REPLICA_NAME": name, "CROSSETTE_PORT": str(port), **environ},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield ReplicaServer(name, int(process.stdout.readline()), process)
    finally:
        process.kill()
        process.wait(LIMIT_S)
        process.stdout.close()


@contextmanager
def replicas(number: int = 2, *, pace_s: float = 0.0, **settings: Any) -> Iterator[list[ReplicaServer]]:
    """Several replicas with the same settings."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(replica(f"replica-{index + 1}", pace_s=pace_s, **settings)) for index in range(number)
        ]


class PacedEngine(FakeEngine):
    """A fake engine whose steps take time, during which the event loop is free."""

    pace_s = 0.0

    def _schedule(self) -> None:
        if not self.pace_s:
            super()._schedule()
        elif self._loop and not self._is_scheduled and not self._is_paused and (self._running or self._waiting):
            self._is_scheduled = True
            self._loop.call_later(self.pace_s, self._run_step)


def main(pace_s: float) -> None:
    from crossette import log
    from crossette.api.models import ServedModels
    from crossette.pool.pool import ModelPool
    from crossette.server import build
    from crossette.server.draining import DrainingServer
    from crossette.server.listener import bind
    from crossette.server.settings import load_settings
    from support.api_server import parrot

    class Server(DrainingServer):
        """Prints its port once it listens."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            print(listener.getsockname()[1], flush=True)

    settings = load_settings({}, os.environ)
    log.configure("warning")
    engine = PacedEngine(parrot)
    engine.pace_s = pace_s
    models = ServedModels(ModelPool.of({engine.info.name: engine}))
    listener = bind("127.0.0.1", settings.server.port)
    with build.open_accounts_of(settings) as accounts:
        app = build.build_app(models, settings, accounts, "127.0.0.1")
        server = settings.server
        Server(app, server.drain_timeout, drain_delay=server.drain_delay).run(sockets=[listener])


if __name__ == "__main__":
    main(float(sys.argv[1]))
