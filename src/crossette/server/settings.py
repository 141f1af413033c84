"""All settings of a server as one typed tree. Its fields are the sections of the configuration file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_type_hints

from crossette import config
from crossette.accounts.settings import AccountSettings, FileSettings
from crossette.api.guards.origins import OriginSettings
from crossette.api.guards.queue_wait import QueueSettings
from crossette.api.http import HttpSettings
from crossette.api.responses.settings import ResponsesSettings
from crossette.engines.registry import BACKENDS
from crossette.models.catalogue import DEFAULT
from crossette.observability.tracing import TracingSettings
from crossette.pool.settings import LoadingSettings
from crossette.server.model_settings import MODEL_SETTINGS
from crossette.server.tls import TlsSettings
from crossette.settings import Panel, Port, Seconds, section, setting
from crossette.text.tool_calls.families import FORMATS


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """The served models and the address."""

    model: tuple[str, ...] = setting(
        (),
        "A model to serve: a name of `crossette pull` or `crossette models`, hf:ORG/REPO[:FILE.gguf], a .gguf file,"
        " or a folder with an OpenVINO model. Can be given without --model. Repeatable: one of several models is loaded"
        " when a request asks for it.",
        metavar="MODEL",
        unset=DEFAULT.name,
        panel=Panel.MODEL,
    )
    all: bool = setting(
        False, "Serve all models of `crossette models`. Each is loaded when a request asks for it.", panel=Panel.MODEL
    )
    host: str = setting(
        "127.0.0.1", "Listen on this address. 0.0.0.0 accepts connections from other machines.", metavar="ADDRESS"
    )
    port: Port = setting(8000, "Listen on this port; 0 chooses a free one.")
    alias: tuple[str, ...] = setting(
        (),
        "Serve a model under another name as well; without =MODEL the served one. Repeatable. Replaces the"
        " [server.alias] table of --config.",
        metavar="NAME[=MODEL]",
        panel=Panel.MODEL,
    )
    adapter: tuple[str, ...] = setting(
        (),
        "Serve a LoRA adapter under a name of its own, beside its base: a folder of PEFT or hf:ORG/REPO. Without @BASE"
        " it belongs to the first model. Repeatable: requests of all adapters share one batch.",
        metavar="NAME[@BASE]=REF",
        panel=Panel.MODEL,
    )
    allow_anonymous: bool = setting(
        False, "Accept requests without a key, also from other machines and when keys exist.", panel=Panel.KEYS
    )
    fireworks_stop: Literal["include", "omit"] = setting(
        "include",
        "Under /inference/v1, include the stop string in the text (as Fireworks did in 2023) or omit it (as today).",
        panel=Panel.MODEL,
    )
    tool_format: str = setting(
        "",
        f"The format in which the model writes tool calls: {', '.join(FORMATS)}.",
        metavar="FORMAT",
        unset="detected from the chat template",
        panel=Panel.MODEL,
    )
    drain_delay: Seconds = setting(
        0.0,
        "Seconds after SIGTERM in which requests are still accepted while /health/ready is 503, so that load balancers"
        " stop sending them.",
        panel=Panel.LIMITS,
    )
    drain_timeout: Seconds = setting(
        30.0, "Seconds for running requests to finish after SIGTERM or Ctrl-C.", panel=Panel.LIMITS
    )
    replica_name: str = setting(
        "",
        "Send this name as `x-crossette-replica` with each response, and list the server under it.",
        metavar="NAME",
        unset="the host and the port, with PostgreSQL; otherwise none is sent",
        panel=Panel.NETWORK,
    )
    log_level: Literal["debug", "info", "warning", "error"] = setting(
        "info", "Log lines of this level and above.", panel=Panel.LOGS
    )
    log_format: Literal["console", "json"] = setting(
        "console", "Write log lines as text for people, or as JSON for programs.", panel=Panel.LOGS
    )


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a server. Each field is a section; `engines` has the sections of the backends."""

    server: ServerSettings = section(ServerSettings, Panel.NETWORK)
    http: HttpSettings = section(HttpSettings, Panel.LIMITS)
    accounts: AccountSettings = section(AccountSettings, Panel.KEYS)
    responses: ResponsesSettings = section(ResponsesSettings, Panel.LIMITS)
    files: FileSettings = section(FileSettings, Panel.FILES)
    queue: QueueSettings = section(QueueSettings, Panel.LIMITS)
    loading: LoadingSettings = section(LoadingSettings, Panel.MODEL)
    origins: OriginSettings = section(OriginSettings, Panel.NETWORK)
    tls: TlsSettings = section(TlsSettings, Panel.NETWORK)
    tracing: TracingSettings = section(TracingSettings, Panel.LOGS)
    engines: Mapping[str, Any] = field(
        default_factory=lambda: {name: backend.settings() for name, backend in BACKENDS.items()}
    )
    models: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """The tables `[models.NAME]` of the file by NAME, each with the values that it sets."""


_OWN: Mapping[str, type] = {
    name: kind for name, kind in get_type_hints(Settings).items() if name not in ("engines", "models")
}
SECTIONS: Mapping[str, type] = {**_OWN, **{name: backend.settings for name, backend in BACKENDS.items()}}
PANELS: Mapping[str, Panel] = {
    **{field.name: field.metadata["panel"] for field in fields(Settings) if field.name in _OWN},
    **dict.fromkeys(BACKENDS, Panel.ENGINE),
}
"""The panel of each section's settings in `--help`."""


def load_settings(
    flags: Mapping[str, Any] | None = None, environ: Mapping[str, str] | None = None, file: Path | None = None
) -> Settings:
    """Load the settings of a server. `flags` holds given flags only. Raises ConfigError with the source."""
    loaded = config.load(SECTIONS, flags=flags, environ=environ, file=file, tables=("models",))
    return Settings(
        **{name: loaded[name] for name in _OWN},
        engines={name: loaded[name] for name in BACKENDS},
        models=config.load_tables(file, "models", MODEL_SETTINGS) if file else {},
    )
