"""All that a server can be told: one typed tree, whose sections are those of the configuration file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_type_hints

from crossette import config
from crossette.accounts.settings import StoreSettings
from crossette.api.guards.origins import OriginSettings
from crossette.api.guards.queue_wait import QueueSettings
from crossette.api.http import HttpSettings
from crossette.engines.registry import BACKENDS
from crossette.models.catalogue import DEFAULT
from crossette.observability.tracing import TracingSettings
from crossette.server.tls import TlsSettings
from crossette.settings import Port, Seconds, setting
from crossette.text.tool_calls.families import FORMATS


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """What is served, and where."""

    model: str = setting(DEFAULT.name, "Catalogue name, hf:ORG/REPO[:FILE.gguf], a .gguf file or an OpenVINO folder.")
    host: str = setting("127.0.0.1", "Address to listen on.")
    port: Port = setting(8000, "Port to listen on; 0 takes a free one.")
    alias: tuple[str, ...] = setting(
        (),
        "NAME=MODEL: serve the model under another name, too. Repeatable. Replaces the [server.alias] table of"
        " --config, and adds nothing to it.",
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


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one server. Each field is a section; `engines` are the sections of the backends."""

    server: ServerSettings = field(default_factory=ServerSettings)
    http: HttpSettings = field(default_factory=HttpSettings)
    accounts: StoreSettings = field(default_factory=StoreSettings)
    queue: QueueSettings = field(default_factory=QueueSettings)
    origins: OriginSettings = field(default_factory=OriginSettings)
    tls: TlsSettings = field(default_factory=TlsSettings)
    tracing: TracingSettings = field(default_factory=TracingSettings)
    engines: Mapping[str, Any] = field(
        default_factory=lambda: {name: backend.settings() for name, backend in BACKENDS.items()}
    )


_OWN: Mapping[str, type] = {name: kind for name, kind in get_type_hints(Settings).items() if name != "engines"}
SECTIONS: Mapping[str, type] = {**_OWN, **{name: backend.settings for name, backend in BACKENDS.items()}}


def load_settings(
    flags: Mapping[str, Any] | None = None, environ: Mapping[str, str] | None = None, file: Path | None = None
) -> Settings:
    """The settings of a server. `flags` holds only what was given. Raises ConfigError, naming the source."""
    loaded = config.load(SECTIONS, flags=flags, environ=environ, file=file)
    return Settings(**{name: loaded[name] for name in _OWN}, engines={name: loaded[name] for name in BACKENDS})
