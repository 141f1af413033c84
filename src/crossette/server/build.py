"""Composition: builds the application, the model files and the banner from settings."""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

from crossette.accounts.database.authenticator import KeyAuthenticator
from crossette.accounts.limits import Limiter
from crossette.accounts.open import Accounts
from crossette.accounts.prices import parse_prices
from crossette.api.app import App
from crossette.api.dialect import FIREWORKS, OPENAI
from crossette.api.guards.admission import AdmissionController
from crossette.api.guards.origins import OriginSettings, allowed_hosts
from crossette.api.models import ServedModels
from crossette.engine import Engine, ModelFiles
from crossette.errors import ConfigError
from crossette.folders import cache_folder
from crossette.models.facts import sampling_defaults
from crossette.models.store import StoredModel
from crossette.models.window import window_limits
from crossette.observability.record import Observer
from crossette.observability.tracing import Tracer
from crossette.server.banner import Banner, root_urls
from crossette.server.settings import Settings
from crossette.text.tool_calls.families import FORMATS


def model_files(stored: StoredModel, tool_format: str = "") -> ModelFiles:
    """The files and metadata of a stored model for an engine. Raises ConfigError for an unknown tool format."""
    if tool_format and tool_format not in FORMATS:
        raise ConfigError(f"--tool-format {tool_format!r} is unknown. It must be one of {', '.join(FORMATS)}.")
    record = stored.record
    return ModelFiles(
        path=stored.path,
        cache=cache_folder() / "notes",
        add_bos=record.add_bos,
        name=stored.name,
        architecture=record.architecture,
        quantization=record.quantization,
        context_length=record.context_length,
        end_token_ids=frozenset(record.end_token_ids),
        chat_template=stored.chat_template,
        tool_format=tool_format,
        sampling_defaults=sampling_defaults(stored.path),
        limits=window_limits(stored.path),
        created=record.created,
    )


def tracing(settings: Settings) -> AbstractContextManager[tuple[Observer, ...]]:
    """The tracing observers: none without a configured collector. Raises ConfigError."""
    endpoint = settings.tracing.otlp_endpoint
    return nullcontext(()) if endpoint is None else Tracer(endpoint)


def build_app(
    engine: Engine, settings: Settings, accounts: Accounts, listener: socket.socket, observers: Sequence[Observer] = ()
) -> App:
    """The application for one engine, served at the listener's address.

    Raises ConfigError for an alias or a price of a model that is not served.
    """
    models = ServedModels({engine.info.name: engine}, parse_aliases(settings.server.alias, engine.info.name))
    fireworks = dataclasses.replace(FIREWORKS, include_stop=settings.server.fireworks_stop == "include")
    for model in parse_prices(settings.accounts.price):
        if model not in models.engines:
            raise ConfigError(f"--price names {model!r}, which is not served. Served: {', '.join(models.engines)}.")
    return App(
        models,
        settings.http,
        (OPENAI, fireworks),
        access=accounts.access,
        ledger=accounts.ledger,
        admissions=AdmissionController(Limiter(accounts.ledger.used_tokens), settings.queue),
        origins=origins(listener, settings),
        observers=observers,
        begins_traces=bool(settings.tracing.otlp_endpoint),
    )


def origins(listener: socket.socket, settings: Settings) -> OriginSettings:
    """The origin settings, completed with the allowed hosts of the bound address."""
    names = allowed_hosts(settings.origins, listener.getsockname()[0], settings.server.host)
    return dataclasses.replace(settings.origins, allowed_host=names)


def parse_aliases(pairs: Sequence[str], default: str) -> dict[str, str]:
    """Parse `NAME=MODEL` pairs; a bare NAME is an alias of the served model."""
    aliases = {}
    for pair in pairs:
        name, _, target = pair.partition("=")
        if not name:
            raise ConfigError(f"--alias {pair!r} has no name. Give NAME=MODEL.")
        aliases[name] = target or default
    return aliases


def banner(engine: Engine, listener: socket.socket, settings: Settings, access: KeyAuthenticator) -> Banner:
    """The startup banner."""
    roots = root_urls(settings.tls.scheme, settings.server.host, listener, settings.origins.allowed_host)
    return Banner(engine, roots, needs_key=access.has_keys and not settings.server.allow_anonymous)
