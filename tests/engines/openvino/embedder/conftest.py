"""Tiny encoders, loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from crossette.engines.openvino.embedder.embedder import OpenVINOEmbedder
from support.embedders import load_tiny


@pytest.fixture
def load() -> Iterator[Callable[..., OpenVINOEmbedder]]:
    """A function that loads a folder; what it loaded is closed after the test."""
    loaded: list[OpenVINOEmbedder] = []

    def load_folder(folder: Path, **settings: Any) -> OpenVINOEmbedder:
        loaded.append(load_tiny(folder, **settings))
        return loaded[-1]

    yield load_folder
    for one in loaded:
        one.close()
