"""Engine backends by name. A backend is imported when it is used: kernels take time to load."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Event
from typing import Any

from crossette.engine import AnyEngine, ModelFiles
from crossette.engines.openvino.settings import OpenVINOSettings
from crossette.engines.vllm.settings import VllmSettings
from crossette.errors import ModelError


@dataclass(frozen=True, slots=True)
class Backend:
    """An engine backend: the class of its settings section, and the function that loads a model."""

    settings: type
    load: Callable[[ModelFiles, Any, Event], AnyEngine]  # Any: an instance of `settings`
    """Loads a model. An engine that takes minutes gives up once the event is set."""
    in_process: bool = True
    """Whether a model of the store is loaded into this process; else the engine finds its weights by their source."""


def _openvino(files: ModelFiles, settings: OpenVINOSettings, cancelled: Event) -> AnyEngine:
    if files.embedding is not None:
        from crossette.engines.openvino.embedder.embedder import OpenVINOEmbedder

        return OpenVINOEmbedder.load(files, settings)
    from crossette.engines.openvino.engine import OpenVINOEngine

    return OpenVINOEngine.load(files, settings)


def _vllm(files: ModelFiles, settings: VllmSettings, cancelled: Event) -> AnyEngine:
    from crossette.engines.vllm.engine import VllmEngine

    return VllmEngine.load(files, settings, cancelled)


BACKENDS: Mapping[str, Backend] = {
    "openvino": Backend(OpenVINOSettings, _openvino),
    "vllm": Backend(VllmSettings, _vllm, in_process=False),
}
DEFAULT_BACKEND = "openvino"


def load_engine(
    files: ModelFiles,
    settings: Mapping[str, Any],
    backend: str = DEFAULT_BACKEND,
    cancelled: Event | None = None,
) -> AnyEngine:
    """Load an engine for a model. `settings` maps each backend's name to its section; `cancelled` ends the load.

    Raises ModelError or ConfigError.
    """
    try:
        return BACKENDS[backend].load(files, settings[backend], cancelled or Event())
    except ModelError as error:
        raise ModelError(f"Can't serve {files.name}: {error}") from error
