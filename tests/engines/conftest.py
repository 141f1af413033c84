"""Fixtures that run each test of the engine contract on every engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from crossette.engine import Engine
from crossette.engines.openvino.engine import OpenVINOEngine
from crossette.engines.openvino.settings import OpenVINOSettings
from crossette.testing.fake_engine import FakeEngine
from support.engine_calls import MAX_SEQUENCES, TINY_CONTEXT, is_empty, run, settle
from support.tiny_model import tiny_files


def make_fake() -> Engine:
    return FakeEngine(context_length=TINY_CONTEXT, max_sequences=MAX_SEQUENCES)


def make_openvino(directory: Path) -> Engine:
    return OpenVINOEngine.load(
        tiny_files(directory), OpenVINOSettings(kv_cache="32MiB", max_sequences=MAX_SEQUENCES, max_step_tokens=64)
    )


@pytest.fixture(params=["fake", "openvino"])
def make(request: pytest.FixtureRequest) -> Callable[[], Engine]:
    """A function that makes a new engine, which a test may break or close."""
    if request.param == "fake":
        return make_fake
    directory = request.getfixturevalue("tiny_model_dir")
    return lambda: make_openvino(directory)


@pytest.fixture(scope="module")
def openvino(tiny_model_dir: Path) -> Iterator[Engine]:
    engine = make_openvino(tiny_model_dir)
    yield engine
    engine.close()


@pytest.fixture(params=["fake", "openvino"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """An idle engine, which a test must leave idle."""
    shared: Engine = make_fake() if request.param == "fake" else request.getfixturevalue("openvino")
    yield shared
    run(settle(shared))
    assert is_empty(shared)
