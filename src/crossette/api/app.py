"""The ASGI application: middleware, routes, and the observers of finished requests."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from starlette.types import ASGIApp, Receive, Scope, Send

from crossette import __version__
from crossette.accounts.access import Authenticator, Caller, NoAuthentication
from crossette.accounts.keys import KeyStore
from crossette.accounts.ledger import Ledger, NoLedger
from crossette.api import endpoints, middleware, routes
from crossette.api.admin.administration import KeyAdministration
from crossette.api.batches.in_process import InProcess
from crossette.api.batches.runner import BatchRunner, add_batch_metrics
from crossette.api.batches.slots import Slots
from crossette.api.dialect import FIREWORKS, OPENAI, Dialect
from crossette.api.grammar_pool import GrammarPool
from crossette.api.guards.admission import AdmissionController
from crossette.api.guards.origins import OriginSettings, any_origin_of, check_host, check_origin, with_cors
from crossette.api.http import HttpSettings
from crossette.api.image_fetch import ImageFetcher
from crossette.api.images import ImageReader
from crossette.api.models import ServedModels
from crossette.api.puller import NoPuller, Puller
from crossette.api.reporter import Reporter, add_ledger_metrics
from crossette.api.responses.service import ResponsesService
from crossette.api.router import TableRouter
from crossette.api.services import Services
from crossette.api.storage import Storage
from crossette.api.unserved import UnservedPaths
from crossette.api.usage import UsageReader
from crossette.errors import Unauthorized
from crossette.observability import request_log
from crossette.observability.metrics import Metrics
from crossette.observability.record import Observer

if TYPE_CHECKING:
    from crossette.accounts.shared.replica import Replica


Headers = Sequence[tuple[bytes, bytes]]

REPLICA_HEADER = b"x-crossette-replica"
CONNECTION_CLOSE: Headers = [(b"connection", b"close")]


class App:
    """Serves models in both dialects. `drain()` rejects new requests and lets running ones finish.

    `replica_name` is sent with each response.

    `begins_traces`: an observer creates spans, so every request that generates gets a trace id at its start.
    """

    def __init__(
        self,
        models: ServedModels,
        settings: HttpSettings | None = None,
        dialects: tuple[Dialect, ...] = (OPENAI, FIREWORKS),
        *,
        access: Authenticator | None = None,
        ledger: Ledger | None = None,
        admissions: AdmissionController | None = None,
        grammars: GrammarPool | None = None,
        usage: UsageReader | None = None,
        origins: OriginSettings | None = None,
        observers: Sequence[Observer] = (),
        begins_traces: bool = False,
        puller: Puller | None = None,
        fetcher: ImageFetcher | None = None,
        responses: ResponsesService | None = None,
        storage: Storage | None = None,
        replica: Replica | None = None,
        replica_name: str = "",
        keys: KeyStore | None = None,
    ) -> None:
        self.models = models
        self._replica = replica
        kept_in, ledger = ledger, ledger or NoLedger()
        self.metrics = Metrics(models.pool, tuple(models.remotes.values()))
        add_ledger_metrics(self.metrics, ledger)
        self._is_leaving = self._is_draining = False
        settings = settings or HttpSettings()
        self.services = Services(
            models,
            settings,
            dialects,
            admissions or AdmissionController(),
            ledger,
            self.metrics,
            is_leaving=lambda: self._is_leaving,
            is_draining=lambda: self._is_draining,
            usage=usage or UsageReader(ledger),
            grammars=grammars or GrammarPool(),
            images=ImageReader(
                fetcher or ImageFetcher(hosts=settings.image_host, max_bytes=settings.max_body_bytes),
                max_images=settings.max_images,
            ),
            puller=puller or NoPuller(),
            responses=responses or ResponsesService(),
            storage=storage,
            keys=KeyAdministration(keys, ledger) if keys is not None else None,
        )
        open_routes = routes.open_routes(self.services)
        self.routes = [*open_routes, *routes.closed_routes(self.services)]
        open_paths = frozenset(route.path for route in open_routes)
        all_observers = (request_log.note, self.metrics.note, *observers)
        patterns = {route.endpoint: route.path for route in self.routes}
        reporter = Reporter(all_observers, kept_in, models, dialects, patterns)
        traced_paths = frozenset(endpoints.generating_paths(dialects)) if begins_traces else frozenset[str]()
        wire_of = endpoints.wires(dialects)
        app: ASGIApp = TableRouter(self.routes, default=UnservedPaths(self.routes, dialects))
        self._in_process = partial(InProcess, app, reporter.report, ledger, dialects, wire_of)
        self.batches = self._batch_runner(storage) if storage is not None else None
        add_batch_metrics(self.metrics, self.batches)
        authenticate = middleware.authentication(access or NoAuthentication(), open_paths)
        guarded = partial(middleware.Guarded, dialects=dialects, wire_of=wire_of)
        app = _guarded(app, origins or OriginSettings(), authenticate, guarded)
        self._replica_header = [(REPLICA_HEADER, replica_name.encode())] if replica_name else []
        self._entry = middleware.Exchanges(app, reporter.report, ledger, traced_paths, wire_of, self._own_headers)

    async def start(self) -> None:
        """Begin the work in the background, once the server listens."""
        if self._replica is not None:
            self._replica.heartbeat.state = self._state
            await self._replica.start()
        if self.batches is not None:
            self.batches.start()

    def leave(self) -> None:
        """Serve on, but neither be ready nor keep connections open."""
        self._is_leaving = True

    def drain(self) -> None:
        self._is_leaving = self._is_draining = True
        if self.batches is not None:
            self.batches.drain()

    async def stop(self) -> None:
        """End the work in the background, once no request runs."""
        if self.batches is not None:
            await self.batches.stop()
        if self._replica is not None:
            await self._replica.stop()

    def in_process(self, caller_of: Callable[[str], Caller] | None = None) -> InProcess:
        """Requests inside the process, each with the rights of a key; by default with all rights."""
        return self._in_process(caller_of) if caller_of is not None else self._in_process()

    def _state(self) -> dict[str, object]:
        """What `crossette status` shows of this server among its replicas."""
        stats = [engine.stats() for engine in self.models.pool.engines.values()]
        return {
            "version": __version__,
            "status": "draining" if self._is_leaving else "ok",
            "running": sum(each.running for each in stats),
            "waiting": sum(each.waiting for each in stats),
            "kv_blocks": sum(each.blocks_total for each in stats),
            "kv_blocks_used": sum(each.blocks_total - each.blocks_free for each in stats),
            "prompt_tokens": sum(each.prompt_tokens for each in stats),
            "generated_tokens": sum(each.completion_tokens for each in stats),
        }

    def _own_headers(self) -> Headers:
        """The headers of all responses that are the same for each."""
        return [*self._replica_header, *(CONNECTION_CLOSE if self._is_leaving else [])]

    def _batch_runner(self, storage: Storage) -> BatchRunner:
        services = self.services

        def wait_s(key_id: str) -> float:
            try:
                return services.admissions.background_wait_s(storage.caller_of(key_id))
            except Unauthorized:  # its requests are refused at once
                return 0.0

        return BatchRunner(
            storage,
            self.in_process(storage.caller_of),
            Slots(self.models),
            max_body_bytes=services.settings.max_body_bytes,
            wait_s=wait_s,
        )

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] != "http":
            raise RuntimeError(f"This server supports HTTP, not {scope['type']}.")
        scope["app"] = self  # makes routes raise for a wrong method instead of responding in plain text
        return self._entry(scope, receive, send)


def _guarded(
    app: ASGIApp, origins: OriginSettings, authenticate: middleware.Check, guarded: Callable[..., ASGIApp]
) -> ASGIApp:
    """`app` behind the checks of host names, origins and keys."""
    host = partial(check_host, hosts=origins.allowed_host)
    origin = partial(check_origin, allowed=re.compile(any_origin_of(origins.cors_origin)))
    if not origins.cors_origin:
        return guarded(app, checks=(host, origin, authenticate))
    app = guarded(app, checks=(origin, authenticate))  # inside CORS, so that pages can read the error
    app = with_cors(app, origins.cors_origin)
    return guarded(app, checks=(host,))  # outside CORS: rejected hosts get no CORS headers
