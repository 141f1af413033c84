"""Graceful shutdown: the server drains running requests before it stops, and then stops the engines."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from types import FrameType

import uvicorn

from crossette.api.app import App
from crossette.server.connection import BoundedProtocol
from crossette.server.settings import Settings
from crossette.server.tls import TlsSettings
from crossette.settings import Seconds

_ERROR_FRAMES_TIMEOUT_S = 5.0
"""Seconds after the drain timeout for aborted streams to send their error frames."""


def run(app: App, listener: socket.socket, settings: Settings) -> None:
    """Serve until SIGTERM or Ctrl-C, then drain. Returns after all engines have stopped."""
    server = DrainingServer(app, settings.server.drain_timeout, settings.tls, settings.server.drain_delay)
    try:
        server.run(sockets=[listener])
    finally:
        app.models.pool.close()


class DrainingServer(uvicorn.Server):
    """A uvicorn server that drains: it rejects new requests, lets running ones finish, and aborts them at the timeout.

    Before, for `drain_delay`, it is not ready and closes connections, but serves: proxies learn it without a failure.
    Aborted streams end with an error frame. A second signal aborts running requests at once; a third one exits
    immediately.
    """

    def __init__(
        self, app: App, drain_timeout: Seconds, tls: TlsSettings | None = None, drain_delay: Seconds = 0.0
    ) -> None:
        tls = tls or TlsSettings()
        super().__init__(
            uvicorn.Config(
                app,
                interface="asgi3",
                http=BoundedProtocol,
                ws="none",
                loop="uvloop",
                lifespan="off",
                access_log=False,
                log_config=None,
                server_header=False,
                proxy_headers=False,  # any client can send them
                timeout_graceful_shutdown=int(drain_timeout + _ERROR_FRAMES_TIMEOUT_S),
                ssl_certfile=tls.tls_cert,
                ssl_keyfile=tls.tls_key,
            )
        )
        self._app = app
        self._models = app.models
        self._pool = app.models.pool
        self._drain_timeout = drain_timeout
        self._drain_delay = drain_delay
        self._is_aborting = False
        self._abort_requests: Callable[[], object] = lambda: None
        """Aborts all running requests; does nothing before the shutdown begins."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.should_exit and not self._is_aborting:
            self._is_aborting = True
            self._abort_requests()
        else:
            super().handle_exit(sig, frame)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As in uvicorn, but without raising handled signals again, so that the process exits with status 0."""
        with super().capture_signals():
            yield
            self._captured_signals.clear()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._pool.plan_unloads()
        await self._app.start()

    async def _leave(self) -> None:
        """Serve on without being ready, until the delay is over or a second signal comes."""
        self._app.leave()
        is_aborting = asyncio.Event()
        self._abort_requests = partial(asyncio.get_running_loop().call_soon_threadsafe, is_aborting.set)
        if self._drain_delay and not self._is_aborting:
            with suppress(TimeoutError):
                await asyncio.wait_for(is_aborting.wait(), self._drain_delay)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._leave()
        self._app.drain()
        running = sum(engine.stats().running for engine in self._pool.engines.values())
        if running:
            logging.getLogger(__name__).info("Draining: %d requests are running", running)
        loop = asyncio.get_running_loop()
        timer = loop.call_later(0 if self._is_aborting else self._drain_timeout, self._models.abort)
        self._abort_requests = partial(loop.call_soon_threadsafe, self._models.abort)
        try:
            await super().shutdown(sockets)
        finally:
            timer.cancel()
            await self._app.stop()
            await self._models.close_remotes()
