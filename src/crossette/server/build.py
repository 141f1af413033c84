"""Composition: builds the application and the banner from settings."""

from __future__ import annotations

import dataclasses
import re
import socket
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta

from crossette.accounts.database.authenticator import KeyAuthenticator
from crossette.accounts.key_accounts import KeyAccounts, LocalAccounts
from crossette.accounts.limits import Limiter
from crossette.accounts.open import Accounts, open_accounts
from crossette.accounts.prices import parse_prices
from crossette.accounts.responses import MemoryResponses, ResponsesByCaller
from crossette.api.app import App
from crossette.api.dialect import FIREWORKS, OPENAI
from crossette.api.guards.admission import AdmissionController
from crossette.api.guards.origins import OriginSettings, allowed_hosts
from crossette.api.models import ServedModels
from crossette.api.puller import Puller
from crossette.api.responses.service import ResponsesService
from crossette.api.storage import Storage
from crossette.errors import ConfigError
from crossette.observability.record import Observer
from crossette.observability.tracing import Tracer
from crossette.server.banner import Banner, root_urls
from crossette.server.settings import Settings
from crossette.timespec import parse_duration

_REPLICA_NAME = re.compile(r"[A-Za-z0-9._:-]{1,100}")
_MAX_STORED = timedelta(days=3650)


def tracing(settings: Settings) -> AbstractContextManager[tuple[Observer, ...]]:
    """The tracing observers: none without a configured collector. Raises ConfigError."""
    endpoint = settings.tracing.otlp_endpoint
    return nullcontext(()) if endpoint is None else Tracer(endpoint)


def open_accounts_of(settings: Settings) -> AbstractContextManager[Accounts]:
    """The accounts of a server. Raises ConfigError, also when they are opened."""
    return open_accounts(
        settings.accounts,
        settings.files,
        allow_anonymous=settings.server.allow_anonymous,
        store_responses=stored_for(settings),
        replica_name=replica_name(settings),
    )


def build_app(
    models: ServedModels,
    settings: Settings,
    accounts: Accounts,
    address: str,
    observers: Sequence[Observer] = (),
    puller: Puller | None = None,
) -> App:
    """The application for these models, served at an address of this machine.

    Raises ConfigError for a price of a model that is not served.
    """
    fireworks = dataclasses.replace(FIREWORKS, include_stop=settings.server.fireworks_stop == "include")
    for model in parse_prices(settings.accounts.price):
        if model not in models.by_name:
            raise ConfigError(f"--price names {model!r}, which is not served. Served: {', '.join(models.by_name)}.")
    return App(
        models,
        settings.http,
        (OPENAI, fireworks),
        access=accounts.access,
        ledger=accounts.ledger,
        admissions=AdmissionController(key_accounts(accounts), settings.queue),
        origins=origins(address, settings),
        observers=observers,
        begins_traces=bool(settings.tracing.otlp_endpoint),
        puller=puller,
        responses=_responses(settings, accounts),
        storage=storage(accounts, settings),
        replica=accounts.replica,
        replica_name=accounts.replica.name if accounts.replica is not None else settings.server.replica_name,
        keys=accounts.keys,
    )


def replica_name(settings: Settings) -> str:
    """The name of this server among its replicas. Raises ConfigError."""
    name = settings.server.replica_name or f"{socket.gethostname()}:{settings.server.port}"
    if not _REPLICA_NAME.fullmatch(name):
        raise ConfigError(f"--replica-name is {name!r}. It must be 1 to 100 letters, digits and -._: characters.")
    return name


def key_accounts(accounts: Accounts) -> KeyAccounts:
    """What keys have used of their limits: in the database that replicas share, else in memory."""
    if accounts.replica is not None:
        return accounts.replica.accounts
    return LocalAccounts(Limiter(accounts.ledger.used_tokens))


def stored_for(settings: Settings) -> timedelta | None:
    """How long responses are stored; None if they are not. Raises ConfigError."""
    if settings.responses.store_responses is None:
        return None
    try:
        keep = parse_duration(settings.responses.store_responses)
    except ValueError as error:
        raise ConfigError(f"--store-responses: {error}") from None
    if not timedelta(0) < keep <= _MAX_STORED:
        raise ConfigError(f"--store-responses must be 1h to {_MAX_STORED.days}d: {settings.responses.store_responses}")
    return keep


def _responses(settings: Settings, accounts: Accounts) -> ResponsesService:
    skips, keep = settings.responses.skip_builtin_tools, stored_for(settings)
    if keep is None or accounts.responses is None:
        return ResponsesService(skips)
    return ResponsesService(skips, ResponsesByCaller(accounts.responses, MemoryResponses(keep)))


def storage(accounts: Accounts, settings: Settings) -> Storage | None:
    """The storage of files and batches; None if none are stored."""
    if accounts.files is None or accounts.batches is None:
        return None
    return Storage(accounts.files, accounts.batches, settings.files, accounts.access.caller_of)


def origins(address: str, settings: Settings) -> OriginSettings:
    """The origin settings, completed with the allowed hosts of the bound address."""
    names = allowed_hosts(settings.origins, address, settings.server.host)
    return dataclasses.replace(settings.origins, allowed_host=names)


def banner(models: ServedModels, listener: socket.socket, settings: Settings, access: KeyAuthenticator) -> Banner:
    """The startup banner."""
    roots = root_urls(settings.tls.scheme, settings.server.host, listener, settings.origins.allowed_host)
    needs_key = access.has_keys and not settings.server.allow_anonymous
    return Banner(models.pool, roots, needs_key, tuple(models.remotes.values()))
