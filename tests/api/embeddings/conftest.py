"""A server with tiny embedding models, and the fake engine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from support.api_server import ApiServer, serving
from support.embedders import Embedders, load_tiny, pool_of
from support.tiny_encoder import write_tiny_encoder


@pytest.fixture(scope="session")
def embedders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedders]:
    root = tmp_path_factory.mktemp("encoders")
    options: dict[str, dict[str, Any]] = {
        "tiny": {},
        "raw": {"modules": ("Transformer", "Pooling")},
        "shorter": {"is_matryoshka": True},
        "sizes": {"matryoshka_dimensions": [8, 16]},
    }
    loaded = {name: load_tiny(write_tiny_encoder(root / name, **given), name) for name, given in options.items()}
    yield Embedders(loaded)
    for embedder in loaded.values():
        embedder.close()


@pytest.fixture(scope="module")
def server(embedders: Embedders) -> Iterator[ApiServer]:
    with serving(pool=pool_of(embedders), aliases={"text-embedding-3-small": "tiny"}) as api:
        yield api
