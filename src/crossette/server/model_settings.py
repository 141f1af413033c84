"""The settings of one model: a table `[models.NAME]` of the configuration file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from crossette import config
from crossette.engines.registry import BACKENDS, DEFAULT_BACKEND
from crossette.remote.settings import RemoteSettings
from crossette.settings import Seconds, setting


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """How a model is served, if not as all others."""

    ref: str = setting("", "The model, as for --model; NAME if it is left out.")
    engine: Literal["openvino", "vllm", "remote"] = setting(
        DEFAULT_BACKEND, "The engine that runs it; remote: another server with the OpenAI API."
    )
    alias: tuple[str, ...] = setting((), "Further names.")
    adapter: str = setting("", "A LoRA adapter, as in --adapter: NAME is served as its base with it.")
    base: str = setting("", "The name of the adapter's base; the first model if it is left out.")
    keep: bool = setting(False, "Whether it is loaded at the start, and never unloaded.")
    idle_unload: Seconds | None = setting(None, "As --idle-unload, for this model.")
    tool_format: str = setting("", "As --tool-format, for this model.")


MODEL_SETTINGS: Mapping[str, config.Setting] = config.table(
    {
        "models": ModelSettings,
        "remote": RemoteSettings,
        **{name: backend.settings for name, backend in BACKENDS.items()},
    }
)
"""The keys of such a table: those of the model, and those of its engine."""
