"""Tiny encoders, loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from crossette.engine import ModelFiles
from crossette.engines.openvino.embedder.embedder import OpenVINOEmbedder
from crossette.engines.openvino.settings import OpenVINOSettings
from crossette.models.encoder import read_embedding_facts, read_encoder_facts

Load = Callable[[Path], OpenVINOEmbedder]


def files_of(folder: Path) -> ModelFiles:
    facts = read_encoder_facts(folder, "tiny")
    return ModelFiles(
        path=folder,
        name="tiny",
        architecture=facts.architecture,
        quantization=facts.quantization,
        context_length=facts.context_length,
        end_token_ids=frozenset(),
        embedding=read_embedding_facts(folder, "tiny"),
    )


@pytest.fixture
def load() -> Iterator[Callable[..., OpenVINOEmbedder]]:
    """A function that loads a folder; what it loaded is closed after the test."""
    loaded: list[OpenVINOEmbedder] = []

    def load_folder(folder: Path, **settings: Any) -> OpenVINOEmbedder:
        loaded.append(OpenVINOEmbedder.load(files_of(folder), OpenVINOSettings(**settings)))
        return loaded[-1]

    yield load_folder
    for one in loaded:
        one.close()
