"""The embedder's thread: limits, ends and failures of requests."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from crossette.engines.openvino.embedder.embedder import OpenVINOEmbedder
from crossette.errors import ContextLengthExceeded, EngineFailure, InvalidRequest, ShuttingDown
from support.embedding_calls import run, vectors_of
from support.tiny_encoder import POSITIONS, WIDTH, WORDS, write_tiny_encoder


@pytest.fixture
def tiny(tmp_path: Path, load: Callable[..., OpenVINOEmbedder]) -> OpenVINOEmbedder:
    return load(write_tiny_encoder(tmp_path), max_step_tokens=64)


class Gate:
    """Holds every step of an embedder until `open`."""

    def __init__(self, embedder: OpenVINOEmbedder, monkeypatch: pytest.MonkeyPatch) -> None:
        self.entered, self.opened = threading.Event(), threading.Event()
        forward = embedder._model.forward

        def held(rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
            self.entered.set()
            assert self.opened.wait(20)
            return forward(rows)

        monkeypatch.setattr(embedder._model, "forward", held)


async def refused_by(embedder: OpenVINOEmbedder) -> None:
    """Wait until the embedder takes no request because it is being closed."""
    while True:
        try:
            await embedder.embed([[5]]).aclose()
        except ShuttingDown:
            return
        await asyncio.sleep(0.001)


async def embed(embedder: OpenVINOEmbedder, *rows: list[int]) -> npt.NDArray[np.float32]:
    return await embedder.embed(rows).vectors()


@pytest.mark.parametrize("length", [1, POSITIONS])
def test_texts_up_to_the_window(tiny: OpenVINOEmbedder, length: int) -> None:
    assert vectors_of(tiny, [[5] * length]).shape == (1, WIDTH)


@pytest.mark.parametrize(
    ("row", "error", "message"),
    [
        ([5] * (POSITIONS + 1), ContextLengthExceeded, "too long: 41, model maximum context length: 40"),
        ([], InvalidRequest, "has no tokens"),
        ([5, len(WORDS)], InvalidRequest, f"token id {len(WORDS)}, but the vocabulary ends at {len(WORDS) - 1}"),
        ([-1], InvalidRequest, "token id -1"),
    ],
)
def test_other_texts_are_rejected_by_their_index(
    tiny: OpenVINOEmbedder, row: list[int], error: type[InvalidRequest], message: str
) -> None:
    with pytest.raises(error, match=message) as raised:
        run(embed(tiny, [5], row))

    assert raised.value.param == "input[1]"
    assert tiny.stats().waiting == 0


def test_a_setting_shortens_the_window(tmp_path: Path, load: Callable[..., OpenVINOEmbedder]) -> None:
    assert load(write_tiny_encoder(tmp_path), max_model_len=9).info.context_length == 9


def test_texts_of_a_request_that_ends_are_not_computed(tiny: OpenVINOEmbedder, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(tiny, monkeypatch)

    async def ask() -> int:
        job = tiny.embed([[5] * length for length in range(1, 21)])
        await asyncio.to_thread(gate.entered.wait, 20)
        assert tiny.stats().waiting == 19
        await job.aclose()
        await job.aclose()
        gate.opened.set()
        await embed(tiny, [7, 7])
        return job.num_computed

    assert run(ask()) == 0
    assert (tiny.stats().steps, tiny.stats().waiting, tiny.stats().pending_prompt_tokens) == (2, 0, 0)
    assert tiny.stats().times.cancellation.sum > 0  # type: ignore[union-attr]


def test_a_failed_step_fails_its_requests_only(
    tiny: OpenVINOEmbedder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    forward, failures = tiny._model.forward, [RuntimeError("kernel broke")]

    def fail_once(rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        if failures:
            raise failures.pop()
        return forward(rows)

    monkeypatch.setattr(tiny._model, "forward", fail_once)
    with caplog.at_level(logging.ERROR), pytest.raises(EngineFailure):
        run(embed(tiny, [5], [5, 6]))

    assert "kernel broke" in caplog.text
    assert vectors_of(tiny, [[5], [5, 6]]).shape == (2, WIDTH)
    assert (tiny.stats().alive, tiny.stats().stalled, tiny.stats().running) == (True, False, 0)


def test_close_fails_what_waits(tiny: OpenVINOEmbedder, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(tiny, monkeypatch)

    async def ask() -> None:
        job = tiny.embed([[5], [5, 6]])
        await asyncio.to_thread(gate.entered.wait, 20)
        closing = asyncio.create_task(asyncio.to_thread(tiny.close))
        await refused_by(tiny)  # only then is the step that the gate holds the last one
        gate.opened.set()
        await closing
        with pytest.raises(ShuttingDown):
            await job.vectors()

    run(ask())
    assert tiny.stats().alive


def test_the_loop_of_a_request_may_be_gone(tiny: OpenVINOEmbedder, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(tiny, monkeypatch)

    async def leave() -> None:
        tiny.embed([[5] * length for length in range(1, 9)])

    run(leave())
    gate.opened.set()

    assert vectors_of(tiny, [[6]]).shape == (1, WIDTH)
    assert tiny.stats().steps < 8


def test_statistics(tiny: OpenVINOEmbedder) -> None:
    async def ask() -> tuple[int, float | None]:
        job = tiny.embed([[5, 6], [6, 7], [1, 2, 3]])
        await job.vectors()
        return job.num_computed, job.queued_s

    computed, queued = run(ask())

    stats = tiny.stats()
    assert (computed, stats.prompt_tokens, stats.completion_tokens, stats.steps) == (7, 7, 0, 2)
    assert queued is not None
    assert (stats.running, stats.waiting, stats.kv_bytes) == (0, 0, 0)
    assert tiny.estimate_wait().has_slot
    assert tiny.details["vectors"] == f"{WIDTH} dimensions, mean"
