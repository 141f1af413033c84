"""All settings of a server as one typed tree. Its fields are the sections of the configuration file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_type_hints

from crossette import config
from crossette.accounts.settings import AccountSettings
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
    """The served model and the address."""

    model: str = setting(DEFAULT.name, "Catalogue name, hf:ORG/REPO[:FILE.gguf], .gguf file or OpenVINO folder.")
    host: str = setting("127.0.0.1", "Address to listen on.")
    port: Port = setting(8000, "Port to listen on; 0 for a free one.")
    alias: tuple[str, ...] = setting(
        (),
        "NAME=MODEL: also serve the model under another name. Repeatable. Replaces the [server.alias] table of"
        " --config.",
    )
    allow_anonymous: bool = setting(
        False, "Accept requests without a key, also from other machines and when keys exist."
    )
    fireworks_stop: Literal["include", "omit"] = setting(
        "include", "Whether text under /inference/v1 includes the stop string (as in 2023) or not (as today)."
    )
    tool_format: str = setting(
        "", f"Tool call format, if it is not detected from the chat template: {', '.join(FORMATS)}."
    )
    drain_timeout: Seconds = setting(30.0, "Seconds for running requests to finish after SIGTERM or Ctrl-C.")
    log_level: Literal["debug", "info", "warning", "error"] = setting("info", "Minimum level of log lines.")
    log_format: Literal["console", "json"] = setting("console", "Format of log lines: text or JSON.")


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a server. Each field is a section; `engines` has the sections of the backends."""

    server: ServerSettings = field(default_factory=ServerSettings)
    http: HttpSettings = field(default_factory=HttpSettings)
    accounts: AccountSettings = field(default_factory=AccountSettings)
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
    """Load the settings of a server. `flags` holds given flags only. Raises ConfigError with the source."""
    loaded = config.load(SECTIONS, flags=flags, environ=environ, file=file)
    return Settings(**{name: loaded[name] for name in _OWN}, engines={name: loaded[name] for name in BACKENDS})
