"""Tiny embedding models of random weights, loaded, and servers with them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from crossette.engine import ModelFiles
from crossette.engines.openvino.embedder.embedder import OpenVINOEmbedder
from crossette.engines.openvino.settings import OpenVINOSettings
from crossette.models.encoder import read_embedding_facts, read_encoder_facts
from crossette.pool.pool import ModelPool
from crossette.testing.fake_engine import FakeEngine
from support.api_server import parrot


def load_tiny(folder: Path, name: str = "tiny", **settings: Any) -> OpenVINOEmbedder:
    """Load a folder of `write_tiny_encoder`; `settings` are those of the engine."""
    facts = read_encoder_facts(folder, name)
    files = ModelFiles(
        path=folder,
        name=name,
        architecture=facts.architecture,
        quantization=facts.quantization,
        context_length=facts.context_length,
        end_token_ids=frozenset(),
        embedding=read_embedding_facts(folder, name),
    )
    return OpenVINOEmbedder.load(files, OpenVINOSettings(**settings))


@dataclass
class Embedders:
    """Tiny embedding models by name: `tiny`, `raw` without normalisation, `shorter` and `sizes` for short vectors."""

    by_name: dict[str, OpenVINOEmbedder]

    @property
    def tiny(self) -> OpenVINOEmbedder:
        return self.by_name["tiny"]


def pool_of(embedders: Embedders) -> ModelPool:
    return ModelPool.of({"fake": FakeEngine(parrot), **embedders.by_name})


def error_of(answer: httpx.Response) -> tuple[int, str | None, str]:
    """Status, param and message."""
    if answer.status_code == 200:
        return 200, None, ""
    error = answer.json()["error"]
    return answer.status_code, error["param"], error["message"]
