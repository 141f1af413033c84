"""A server that stops in three steps, and the engine that stops with it."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType

import uvicorn

from crossette.api.app import App
from crossette.engine import Engine
from crossette.server.connection import BoundedProtocol
from crossette.server.settings import Settings
from crossette.server.tls import TlsSettings
from crossette.settings import Seconds

_LAST_WORDS_S = 5.0
"""Seconds that ended streams have, after the drain timeout, to send their error frames."""


def run(engine: Engine, app: App, listener: socket.socket, settings: Settings) -> None:
    """Serve until SIGTERM or Ctrl-C, then drain. Returns when the engine has stopped."""
    server = DrainingServer(app, engine, settings.server.drain_timeout, settings.tls)
    try:
        server.run(sockets=[listener])
    finally:
        engine.close()


class DrainingServer(uvicorn.Server):
    """Stops in three steps: no new work; running answers end by themselves; at the timeout, with an error frame.

    A second signal does not wait for the timeout. A third one waits for nothing.
    """

    def __init__(self, app: App, engine: Engine, drain_timeout: Seconds, tls: TlsSettings | None = None) -> None:
        tls = tls or TlsSettings()
        super().__init__(
            uvicorn.Config(
                app,
                http=BoundedProtocol,
                ws="none",
                loop="uvloop",
                lifespan="off",
                access_log=False,
                log_config=None,
                server_header=False,
                proxy_headers=False,  # anybody may write them
                timeout_graceful_shutdown=int(drain_timeout + _LAST_WORDS_S),
                ssl_certfile=tls.tls_cert,
                ssl_keyfile=tls.tls_key,
            )
        )
        self._app = app
        self._engine = engine
        self._drain_timeout = drain_timeout
        self._is_hurried = False
        self._end_answers: Callable[[], object] = lambda: None
        """What ends them at once; nothing before the server stops."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.should_exit and not self._is_hurried:
            self._is_hurried = True
            self._end_answers()
        else:
            super().handle_exit(sig, frame)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As uvicorn does, but what was obeyed is not raised again: the process ends by itself, with status 0."""
        with super().capture_signals():
            yield
            self._captured_signals.clear()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._app.drain()
        running = self._engine.stats().running
        if running:
            logging.getLogger(__name__).info("Draining: %d answers are running", running)
        loop = asyncio.get_running_loop()
        timer = loop.call_later(0 if self._is_hurried else self._drain_timeout, self._engine.close)
        self._end_answers = partial(loop.call_soon_threadsafe, self._engine.close)
        try:
            await super().shutdown(sockets)
        finally:
            timer.cancel()
