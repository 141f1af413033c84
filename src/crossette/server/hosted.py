"""The application for an ASGI server other than ours, such as Ray Serve's: opened and closed with its lifespan."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial

from starlette.types import Receive, Scope, Send

from crossette.api.app import App
from crossette.api.guards.origins import check_origins
from crossette.api.models import ServedModels
from crossette.errors import ConfigError
from crossette.models.pull import no_progress
from crossette.models.store import ModelStore, default_root
from crossette.server import build
from crossette.server.downloads import pull_with_progress
from crossette.server.listener import check_exposure
from crossette.server.settings import Settings
from crossette.server.starting import puller_of, start_models

log = logging.getLogger(__name__)

ALL_ADDRESSES = "0.0.0.0"
"""Where the other server is assumed to listen, so that keys are needed."""


def stored_models(settings: Settings) -> ServedModels:
    """The models of the settings, from the store. Raises ModelError or ConfigError."""
    return start_models(settings, ModelStore(default_root()), partial(pull_with_progress, progress=no_progress))


@contextmanager
def open_app(settings: Settings, models_of: Callable[[Settings], ServedModels] = stored_models) -> Iterator[App]:
    """The application with all that it uses, for as long as the block lasts. Blocks while models are loaded.

    Raises ModelError or ConfigError: also for a setting that only the server of `crossette serve` can have.
    """
    check_hosted(settings)
    check_origins(settings.origins)
    with build.open_accounts_of(settings) as accounts, build.tracing(settings) as observers:
        check_exposure(ALL_ADDRESSES, accounts.access, settings.server)
        models = models_of(settings)
        puller = puller_of(models, settings, ModelStore(default_root()), pull_with_progress)
        try:
            yield build.build_app(models, settings, accounts, ALL_ADDRESSES, observers, puller)
        finally:
            models.pool.close()


def check_hosted(settings: Settings) -> None:
    """Raise ConfigError for settings that would have no effect under another server."""
    if settings.server.host != ALL_ADDRESSES:
        raise ConfigError(
            f"--host is {settings.server.host}, but the other server listens on all addresses. Set it to"
            f" {ALL_ADDRESSES}, and keep others away by a firewall or a network of its own."
        )
    if settings.tls.tls_cert or settings.tls.tls_key:
        raise ConfigError("--tls-cert has no effect under another server: end TLS before it.")


class HostedApp:
    """An ASGI application with a lifespan: at its start it opens `open_app()` in a thread, at its end it closes it.

    The other server drains: the lifespan ends once no request runs, or they have had their time.
    """

    def __init__(self, open_app: Callable[[], AbstractContextManager[App]]) -> None:
        self._open_app = open_app
        self.app: App | None = None
        """None before the start, and after the end."""

    @property
    def is_alive(self) -> bool:
        """Whether all engines run, as in /health/live: otherwise the process must be restarted."""
        return self.app is not None and all(engine.stats().alive for engine in self.app.models.pool.engines.values())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        else:
            assert self.app is not None, "a request before the start"
            await self.app(scope, receive, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        """Runs from the other server's start to its end."""
        await receive()
        with ExitStack() as stack:
            try:
                app = await asyncio.to_thread(stack.enter_context, self._open_app())
                app.models.pool.plan_unloads()
                await app.start()
            except Exception as error:
                log.exception("The application cannot be started")
                await send({"type": "lifespan.startup.failed", "message": str(error)})
                return
            self.app = app
            await send({"type": "lifespan.startup.complete"})
            await receive()
            self.app = None
            await _end(app)
            await asyncio.to_thread(stack.close)
        await send({"type": "lifespan.shutdown.complete"})


async def _end(app: App) -> None:
    """Fail what still runs, and end the work in the background."""
    app.drain()
    app.models.abort()
    await app.stop()
    await app.models.close_remotes()
