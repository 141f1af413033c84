"""A text has the same vector, to the last bit, whatever else is computed with it."""

from __future__ import annotations

import asyncio
import random

import numpy as np
import pytest

from crossette.engines.openvino.embedder.embedder import OpenVINOEmbedder
from support.embedding_calls import run, vectors_of

WORDS = ("the", "memory", "of", "servers", "holds", "models", "that", "answer", "in", "turn", "while", "others", "wait")


def some_texts(seed: int, count: int) -> list[str]:
    chooser = random.Random(seed)
    return [" ".join(chooser.choices(WORDS, k=chooser.choice((1, 2, 3, 8, 8, 20, 60)))) for _ in range(count)]


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return some_texts(1, 60)


@pytest.fixture(scope="module")
def alone(embedder: OpenVINOEmbedder, texts: list[str]) -> list[bytes]:
    """Each text in a request of its own, one after the other."""
    return [vectors_of(embedder, embedder.encoder.encode([text]))[0].tobytes() for text in texts]


@pytest.mark.parametrize("seed", range(4))
def test_in_any_batch(embedder: OpenVINOEmbedder, texts: list[str], alone: list[bytes], seed: int) -> None:
    order = list(range(len(texts)))
    random.Random(seed).shuffle(order)
    chosen = order[: 60 - 13 * seed]

    vectors = vectors_of(embedder, embedder.encoder.encode([texts[index] for index in chosen]))

    assert [vector.tobytes() for vector in vectors] == [alone[index] for index in chosen]


def test_beside_other_requests(embedder: OpenVINOEmbedder, texts: list[str], alone: list[bytes]) -> None:
    """Twelve requests at once, whose texts of the same length share steps."""

    async def ask_all() -> list[list[bytes]]:
        parts = [list(range(start, 60, 12)) for start in range(12)]
        jobs = [embedder.embed(embedder.encoder.encode([texts[index] for index in part])) for part in parts]
        return [[vector.tobytes() for vector in await job.vectors()] for job in jobs]

    steps = embedder.stats().steps
    found = run(ask_all())

    assert found == [[alone[index] for index in range(start, 60, 12)] for start in range(12)]
    assert embedder.stats().steps - steps < 40  # they were merged


def test_from_several_event_loops(embedder: OpenVINOEmbedder, texts: list[str], alone: list[bytes]) -> None:
    async def ask_in_threads() -> list[list[bytes]]:
        def ask() -> list[bytes]:
            return [vector.tobytes() for vector in vectors_of(embedder, embedder.encoder.encode(texts[:20]))]

        return await asyncio.gather(*(asyncio.to_thread(ask) for _ in range(4)))

    assert run(ask_in_threads()) == [alone[:20]] * 4


def test_the_step_is_narrowed_to_what_is_exact(embedder: OpenVINOEmbedder) -> None:
    """Lengths and numbers of rows that the measurement at load has not seen."""
    model, width = embedder._model, embedder._batches.max_tokens
    chooser = np.random.default_rng(3)

    for length in (2, 5, 11, 23, 41, 64, 127):
        rows = chooser.integers(1000, 30000, (max(1, width // length), length))
        together = model.forward(rows).copy()
        for index in {0, len(rows) // 2, len(rows) - 1}:
            assert np.array_equal(model.forward(rows[[index]])[0], together[index])
