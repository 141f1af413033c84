"""The engines by name. What makes an engine is imported when one is asked for: kernels take time to load."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from crossette.engine import Engine, ModelFiles
from crossette.engines.openvino.settings import OpenVINOSettings
from crossette.errors import ModelError


@dataclass(frozen=True, slots=True)
class Backend:
    """A kind of engine: the settings class of its section, and what loads a model with them."""

    settings: type
    load: Callable[[ModelFiles, Any], Engine]  # Any: an instance of `settings`


def _openvino(files: ModelFiles, settings: OpenVINOSettings) -> Engine:
    from crossette.engines.openvino.engine import OpenVINOEngine

    return OpenVINOEngine.load(files, settings)


BACKENDS: Mapping[str, Backend] = {"openvino": Backend(OpenVINOSettings, _openvino)}
DEFAULT_BACKEND = "openvino"


def load_engine(files: ModelFiles, settings: Mapping[str, Any], backend: str = DEFAULT_BACKEND) -> Engine:
    """An engine for a model. `settings` are the sections by the name of their backend.

    Raises ModelError or ConfigError.
    """
    try:
        return BACKENDS[backend].load(files, settings[backend])
    except ModelError as error:
        raise ModelError(f"Can't serve {files.name}: {error}") from error
