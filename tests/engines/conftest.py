"""Fixtures that run each test of the engine contract on every engine."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from crossette.engine import Engine
from crossette.engines.openvino.engine import OpenVINOEngine
from crossette.engines.openvino.settings import OpenVINOSettings
from crossette.engines.vllm.engine import VllmEngine
from crossette.engines.vllm.settings import VllmSettings
from crossette.testing.fake_engine import FakeEngine
from support.engine_calls import MAX_SEQUENCES, TINY_CONTEXT, is_empty, run, settle
from support.tiny_checkpoint import tiny_checkpoint_files, write_random_weights, write_tiny_checkpoint
from support.tiny_model import tiny_files
from support.vllm_server import FakeVllm, running


def make_fake() -> Engine:
    return FakeEngine(context_length=TINY_CONTEXT, max_sequences=MAX_SEQUENCES)


def make_openvino(directory: Path) -> Engine:
    return OpenVINOEngine.load(
        tiny_files(directory), OpenVINOSettings(kv_cache="32MiB", max_sequences=MAX_SEQUENCES, max_step_tokens=64)
    )


def make_vllm(folder: Path, url: str) -> Engine:
    settings = VllmSettings(vllm_url=url, vllm_max_sequences=MAX_SEQUENCES)
    return VllmEngine.load(tiny_checkpoint_files(folder), settings)


@pytest.fixture(scope="module")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint") / "tiny"
    write_tiny_checkpoint(folder)
    return folder


@pytest.fixture(scope="module")
def vllm_server() -> FakeVllm:
    return FakeVllm()


@pytest.fixture(scope="module")
def vllm_url(vllm_server: FakeVllm) -> Iterator[str]:
    with running(vllm_server) as url:
        yield url


@pytest.fixture(scope="module")
def vllm(tiny_checkpoint: Path, vllm_url: str) -> Iterator[Engine]:
    engine = make_vllm(tiny_checkpoint, vllm_url)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def real_vllm(
    request: pytest.FixtureRequest, tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[VllmEngine]:
    """A real vLLM on a CPU, with random weights."""
    folder = tmp_path_factory.mktemp("weights") / "tiny"
    shutil.copytree(tiny_checkpoint, folder)
    write_random_weights(folder)
    settings = VllmSettings(
        vllm_command=request.config.getoption("--vllm"),
        vllm_args=("--dtype=float32",),
        vllm_max_sequences=MAX_SEQUENCES,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
        patch.setenv("HF_HUB_OFFLINE", "1")
        engine = VllmEngine.load(tiny_checkpoint_files(folder), settings)
    yield engine
    engine.close()


ENGINES = ("fake", "openvino", "vllm", pytest.param("real_vllm", marks=pytest.mark.vllm))


@pytest.fixture(params=ENGINES)
def make(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Engine]:
    """A function that makes a new engine, which a test may break or close."""
    if request.param == "fake":
        return make_fake
    if request.param == "real_vllm":
        real = request.getfixturevalue("real_vllm")
        folder = request.getfixturevalue("tiny_checkpoint")
        monkeypatch.setenv("VLLM_API_KEY", real._server.key)
        return lambda: make_vllm(folder, real._server.url)
    if request.param == "vllm":
        folder, url = (request.getfixturevalue(name) for name in ("tiny_checkpoint", "vllm_url"))
        return lambda: make_vllm(folder, url)
    directory = request.getfixturevalue("tiny_model_dir")
    return lambda: make_openvino(directory)


@pytest.fixture(scope="module")
def openvino(tiny_model_dir: Path) -> Iterator[Engine]:
    engine = make_openvino(tiny_model_dir)
    yield engine
    engine.close()


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """An idle engine, which a test must leave idle."""
    shared: Engine = make_fake() if request.param == "fake" else request.getfixturevalue(request.param)
    yield shared
    run(settle(shared))
    assert is_empty(shared)
