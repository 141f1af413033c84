"""The last hidden state of a prompt, from the graph that generates."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from crossette.engines.openvino.engine import OpenVINOEngine
from crossette.engines.openvino.gguf import reference
from crossette.engines.openvino.gguf.head import GgufHead, read_head
from crossette.engines.openvino.gguf.reference_tensors import Floats
from crossette.generation.embeddings import EngineVectors
from support.bert_reference import cosine
from support.embedding_calls import run, vectors_of

TEXTS = ["Once upon a time", "The capital of France is", "x", "a long text " * 40]


def test_it_is_what_the_head_gets_in_the_reference(
    real_engine: OpenVINOEngine, default_gguf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head: GgufHead = read_head(default_gguf)
    before_head: list[Floats] = []
    product = reference.Tensors.product

    def recording(self: reference.Tensors, x: Floats, name: str, expert: int | None = None) -> Floats:
        if name in ("output", "token_embd"):
            before_head.append(x)
        return product(self, x, name, expert)

    monkeypatch.setattr(reference.Tensors, "product", recording)
    source = EngineVectors(real_engine, "test")
    (tokens,) = source.encoder.encode([TEXTS[1]])
    reference.logits(default_gguf, head, tokens)

    (vector,) = vectors_of(source, [tokens])
    assert cosine(vector, before_head[0][-1]) > 1 - 1e-3


def test_texts_in_a_batch_have_the_vectors_that_they_have_alone(real_engine: OpenVINOEngine) -> None:
    source = EngineVectors(real_engine, "test")
    rows = source.encoder.encode(TEXTS)
    together = vectors_of(source, rows)

    for row, vector in zip(rows, together, strict=True):
        assert np.array_equal(vectors_of(source, [row])[0], vector)


def test_counts(real_engine: OpenVINOEngine) -> None:
    source = EngineVectors(real_engine, "test", isolation_key="counts")
    rows = source.encoder.encode(["one two three " * 30])

    async def ask() -> tuple[int, int]:
        job = source.embed(rows)
        await job.vectors()
        await job.aclose()
        return job.num_computed, job.num_cached

    assert run(ask()) == (len(rows[0]), 0)
    computed, cached = run(ask())
    assert computed == len(rows[0]) > cached > 0


def test_closing_ends_what_is_not_computed(real_engine: OpenVINOEngine) -> None:
    source = EngineVectors(real_engine, "test")

    async def leave() -> int:
        job = source.embed(source.encoder.encode([f"{number} " * 300 for number in range(20)]))
        await asyncio.sleep(0)
        await job.aclose()
        return job.num_computed

    assert run(leave()) < 20 * 300
    assert vectors_of(source, [[5, 6]]).shape == (1, 576)
