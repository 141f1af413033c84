"""Composition: builds the engine, the app and the server, and decides the order in which they start and stop."""

from __future__ import annotations

import asyncio
import dataclasses
import errno
import logging
import socket
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, aclosing, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from types import FrameType
from typing import Any, Literal

import uvicorn

from crossette import config
from crossette.api.admission import Gate
from crossette.api.app import App
from crossette.api.chat_prompt import chat_template
from crossette.api.connection import BoundedProtocol
from crossette.api.dialect import FIREWORKS, OPENAI
from crossette.api.http import HttpSettings
from crossette.api.models import ServedModels
from crossette.api.origins import OriginSettings, allowed_hosts, is_loopback
from crossette.api.queue import QueueSettings
from crossette.banner import Banner, roots_of
from crossette.choice import Stops
from crossette.engine import Engine, ModelInfo
from crossette.engines.openvino.engine import OpenVINOEngine, OpenVINOSettings
from crossette.errors import ConfigError, ModelError
from crossette.generation import start
from crossette.limits import Limiter
from crossette.models.catalogue import DEFAULT
from crossette.models.facts import sampling_defaults
from crossette.models.store import StoredModel, home
from crossette.models.window import window_limits
from crossette.prompt import encode_chat
from crossette.record import Observer
from crossette.settings import Port, Seconds, setting
from crossette.store.key_ring import KeyRing
from crossette.store.open import Store
from crossette.store.prices import parse_prices
from crossette.store.settings import StoreSettings
from crossette.text.tool_calls.families import FORMATS
from crossette.tls import TlsSettings
from crossette.tracing import Tracer, TracingSettings
from crossette.types import GenerationRequest, SamplingParams

_LAST_WORDS_S = 5.0
"""Seconds that ended streams have, after the drain timeout, to send their error frames."""


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """What is served, and where."""

    model: str = setting(DEFAULT.name, "Catalogue name, hf:ORG/REPO[:FILE.gguf], a .gguf file or an OpenVINO folder.")
    host: str = setting("127.0.0.1", "Address to listen on.")
    port: Port = setting(8000, "Port to listen on; 0 takes a free one.")
    alias: tuple[str, ...] = setting(
        (),
        "NAME=MODEL: serve the model under another name, too. Repeatable. Replaces the [alias] table of --config,"
        " and adds nothing to it.",
    )
    allow_anonymous: bool = setting(
        False, "Serve requests without a key: on an address that others reach, and where keys were made."
    )
    fireworks_stop: Literal["include", "omit"] = setting(
        "include", "Whether text under /inference/v1 includes the stop string: as in 2023, or as today."
    )
    tool_format: str = setting(
        "", f"How the model calls tools, where its template does not show it: {', '.join(FORMATS)}."
    )
    drain_timeout: Seconds = setting(30.0, "Seconds that running answers may still take after SIGTERM or Ctrl-C.")
    log_level: Literal["debug", "info", "warning", "error"] = setting("info", "What is logged, from this level up.")
    log_format: Literal["console", "json"] = setting("console", "Log lines for people, or JSON objects for programs.")


SECTIONS = (
    *(ServerSettings, OpenVINOSettings, HttpSettings, StoreSettings),
    *(QueueSettings, OriginSettings, TlsSettings, TracingSettings),
)


def load_engine(stored: StoredModel, settings: OpenVINOSettings, tool_format: str = "") -> OpenVINOEngine:
    """The engine for a model of the store. Raises ModelError or ConfigError."""
    if tool_format and tool_format not in FORMATS:
        raise ConfigError(f"--tool-format {tool_format!r} is not known. It is one of {', '.join(FORMATS)}.")
    record = stored.record
    info = ModelInfo(
        name=stored.name,
        architecture=record.architecture,
        quantization=record.quantization,
        context_length=record.context_length,
        vocab_size=0,  # the tokenizer knows it
        end_token_ids=frozenset(record.end_token_ids),
        chat_template=stored.chat_template,
        tool_format=tool_format,
        sampling_defaults=sampling_defaults(stored.path),
        created=record.created,
    )
    try:
        return OpenVINOEngine(
            *(stored.path, info, settings),
            add_bos=record.add_bos,
            notes=home() / "notes",
            limits=window_limits(stored.path),
        )
    except ModelError as error:
        raise ModelError(f"Can't serve {stored.name}: {error}") from error


def tracing(values: Mapping[str, Any]) -> AbstractContextManager[tuple[Observer, ...]]:
    """Who makes spans of requests while the server runs: nobody, unless a collector is named. Raises ConfigError."""
    endpoint = config.fill(TracingSettings, values).otlp_endpoint
    return nullcontext(()) if endpoint is None else Tracer(endpoint)


def build_app(
    engine: OpenVINOEngine,
    values: Mapping[str, Any],
    store: Store,
    listener: socket.socket,
    observers: Sequence[Observer] = (),
) -> App:
    """The application for one engine, as it is asked for at the listener's address.

    Raises ConfigError for an alias that leads nowhere, or a price of nothing.
    """
    server = config.fill(ServerSettings, values)
    models = ServedModels({engine.info.name: engine}, parse_aliases(server.alias, engine.info.name))
    fireworks = dataclasses.replace(FIREWORKS, include_stop=server.fireworks_stop == "include")
    for model in parse_prices(config.fill(StoreSettings, values).price):
        if model not in models.engines:
            raise ConfigError(f"--price names {model!r}, which is not served. Served: {', '.join(models.engines)}.")
    return App(
        models,
        config.fill(HttpSettings, values),
        (OPENAI, fireworks),
        access=store.access,
        ledger=store.ledger,
        gate=Gate(Limiter(store.ledger.used_tokens), config.fill(QueueSettings, values)),
        origins=origins(listener, server, values),
        observers=observers,
        begins_traces=bool(config.fill(TracingSettings, values).otlp_endpoint),
    )


def origins(listener: socket.socket, server: ServerSettings, values: Mapping[str, Any]) -> OriginSettings:
    """Who may ask in a browser, by the address that the server is really bound to."""
    settings = config.fill(OriginSettings, values)
    names = allowed_hosts(settings, listener.getsockname()[0], server.host)
    return dataclasses.replace(settings, allowed_host=names)


def parse_aliases(pairs: Sequence[str], default: str) -> dict[str, str]:
    """`NAME=MODEL` pairs; a bare NAME means the served model."""
    aliases = {}
    for pair in pairs:
        name, _, target = pair.partition("=")
        if not name:
            raise ConfigError(f"--alias {pair!r} has no name. Give NAME=MODEL.")
        aliases[name] = target or default
    return aliases


def bind(host: str, port: int) -> socket.socket:
    """A socket bound to an address. Raises ConfigError if it is taken or not this machine's."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except (OSError, UnicodeError) as error:  # UnicodeError: a name that no name of a host can be
        listener.close()
        raise ConfigError(f"Can't listen on {host}:{port}: {_why_not_bound(host, error)}") from error
    return listener


def _why_not_bound(host: str, error: OSError | UnicodeError) -> str:
    reason = getattr(error, "strerror", None) or str(error)
    if isinstance(error, socket.gaierror | UnicodeError):
        return f"--host {host} is no name or address that is known here ({reason})."
    if isinstance(error, OSError) and error.errno == errno.EADDRNOTAVAIL:
        return f"--host {host} is no address of this machine. Give one of its own, or 0.0.0.0 for all of them."
    return f"{reason}. Choose another --port."


def guard(listener: socket.socket, access: KeyRing, settings: ServerSettings) -> None:
    """Raise ConfigError if others than this machine's own users would come in without a key."""
    if is_loopback(listener.getsockname()[0]) or access.is_closed or settings.allow_anonymous:
        return
    listener.close()
    raise ConfigError(
        f"--host {settings.host} can be reached from other machines, but no keys were made, so that everybody could"
        " use the server. Make a key with `crossette keys create NAME`, or start with --allow-anonymous."
    )


def banner(engine: OpenVINOEngine, listener: socket.socket, values: Mapping[str, Any], access: KeyRing) -> Banner:
    """What is said once the server listens."""
    server, scheme = config.fill(ServerSettings, values), config.fill(TlsSettings, values).scheme
    roots = roots_of(scheme, server.host, listener, config.fill(OriginSettings, values).allowed_host)
    return Banner(engine, roots, needs_key=access.is_closed and not server.allow_anonymous)


def run(engine: OpenVINOEngine, app: App, listener: socket.socket, settings: ServerSettings, tls: TlsSettings) -> None:
    """Serve until SIGTERM or Ctrl-C, then drain. Returns when the engine has stopped."""
    server = DrainingServer(app, engine, settings.drain_timeout, tls)
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


class LocalChat:
    """A conversation with an engine in this process: what `crossette chat` talks to without `--url`."""

    def __init__(self, engine: OpenVINOEngine) -> None:
        self._engine = engine
        self._template = chat_template(engine)

    async def reply(self, messages: Sequence[dict[str, str]]) -> AsyncGenerator[str, None]:
        engine = self._engine
        prompt = encode_chat(engine.tokenizer, self._template, messages)
        defaults: dict[str, Any] = dict(engine.info.sampling_defaults)
        request = GenerationRequest(
            id="chat",
            prompt=prompt,
            sampling=SamplingParams(max_tokens=max(1, engine.info.context_length - len(prompt)), **defaults),
            end_token_ids=engine.info.end_token_ids,
        )
        async with aclosing(start(engine, [request], Stops()).deltas()) as deltas:
            async for delta in deltas:
                yield delta.text

    async def aclose(self) -> None:
        self._engine.close()
