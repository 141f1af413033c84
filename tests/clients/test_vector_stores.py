"""Vector stores of LangChain and LlamaIndex, end to end: texts are stored by a real model's vectors and found again."""

from __future__ import annotations

import json
from typing import Any

import pytest

from crossette.api.embeddings.vectors import similarities
from crossette.engines.openvino.embedder.embedder import OpenVINOEmbedder
from crossette.pool.pool import ModelPool
from support.api_server import serving
from support.client_environments import run_client, unpinned
from support.embedding_calls import vectors_of

pytestmark = [pytest.mark.all, pytest.mark.timeout(900)]  # the first test may install both

ENVIRONMENTS = ("langchain_vectors", "llama_index")
TEXTS = [
    "The central bank raised its interest rate again.",
    "A kitten sleeps on the warm rug by the fire.",
    "The bridge over the river was closed for repairs.",
    "Two dogs chase a ball in the park.",
    "Bread dough must rest for an hour before it is baked.",
]
QUESTION = "Where is the cat?"


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_a_text_is_found_by_its_meaning(embedder: OpenVINOEmbedder, environment: str, prefix: str) -> None:
    with serving(pool=ModelPool.of({"minilm": embedder})) as api:
        asked = {
            "base_url": api.url(prefix),
            "model": "minilm",
            "texts": TEXTS,
            "question": QUESTION,
            "long": "word " * 300,
        }
        found: dict[str, Any] = run_client(environment, "vector_stores.py", json.dumps(asked))

    vectors = vectors_of(embedder, embedder.encoder.encode([QUESTION, *TEXTS]))
    scores = similarities(vectors[0], vectors[1:])
    best = sorted(range(len(TEXTS)), key=lambda index: -scores[index])[:2]
    assert best[0] == 1
    assert [text for text, _ in found["found"]] == found["found later"] == [TEXTS[index] for index in best]
    assert [score for _, score in found["found"]] == pytest.approx([scores[index] for index in best], abs=1e-5)
    assert (found["dimensions"], found["too long"][0]) == (384, 400)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_nothing_in_an_environment_changes_by_itself(environment: str) -> None:
    assert unpinned(environment) == set()
