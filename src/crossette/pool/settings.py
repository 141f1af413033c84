"""Settings of the models that are loaded on demand."""

from __future__ import annotations

from dataclasses import dataclass

from crossette.settings import Seconds, setting


@dataclass(frozen=True, slots=True)
class LoadingSettings:
    """When models are loaded and unloaded."""

    memory: str = setting(
        "80%",
        "Memory for all loaded models together, in bytes (8GiB) or as a share of the free memory (80%). For another"
        " one, the least recently used model is unloaded.",
        metavar="SIZE",
    )
    idle_unload: Seconds = setting(
        0.0, "Unload a model after this many seconds without a request; the next one loads it again. 0 turns it off."
    )
