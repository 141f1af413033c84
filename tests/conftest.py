"""What is made once for all tests: a model of random weights, and the real one, pulled as users pull it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from filelock import FileLock
from hypothesis import settings

from crossette.engine import ModelFiles
from crossette.engines.openvino.convert import convert
from crossette.engines.openvino.engine import OpenVINOEngine
from crossette.engines.openvino.settings import OpenVINOSettings
from crossette.folders import cache_folder
from crossette.models.catalogue import DEFAULT
from crossette.models.fetch import sha256_of
from crossette.models.pull import pull, silent
from crossette.models.sources import Sources
from crossette.models.store import ModelStore, StoredModel, default_root
from crossette.server.build import model_files
from support.api_server import ALIASES, PREFIXES, ApiServer
from support.api_server import serving as serving_api
from support.engine_calls import TINY_CONTEXT
from support.tiny_model import write_tiny_gguf

_MODELS = frozenset({"tiny_model_dir", "default_gguf", "real_model", "real_files", "real_engine"})
"""Fixtures that convert or compute with a model."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all", action="store_true", help="also run what needs environments of its own: real clients")
    parser.addoption("--fuzz", type=int, default=1, metavar="N", help="N times as many random requests")
    parser.addoption("--corpus", action="store_true", help="also hold the model to every schema: some ten minutes")
    parser.addoption("--write-docs", action="store_true", help="write the pages under docs/ that a run prints")


def pytest_configure(config: pytest.Config) -> None:
    settings.register_profile("default", deadline=None)  # a busy machine is no fault of an example
    settings.register_profile("long", max_examples=2000, deadline=None)  # --hypothesis-profile long
    settings.load_profile(config.getoption("--hypothesis-profile") or "default")
    config.addinivalue_line("markers", "all: needs more than Python; runs only with --all")
    config.addinivalue_line("markers", "corpus: takes minutes with a model; runs only with --corpus")
    config.addinivalue_line(
        "markers", "model: computes with a model, real or random; scripts/test --fast leaves it out"
    )
    config.addinivalue_line("markers", "slow: takes long without a model; scripts/test --fast leaves it out")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if isinstance(item, pytest.Function) and not _MODELS.isdisjoint(item.fixturenames):
            item.add_marker("model")
    for name in ("all", "corpus"):
        if not config.getoption(f"--{name}"):
            for item in items:
                if item.get_closest_marker(name):
                    item.add_marker(pytest.mark.skip(reason=f"runs only with --{name}"))


@pytest.fixture(scope="session", autouse=True)
def _own_database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Servers and commands that a test starts leave the keys and the ledger of this machine's user alone."""
    file = tmp_path_factory.mktemp("database") / "crossette.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CROSSETTE_DATABASE_URL", f"sqlite:///{file}")
        yield


@pytest.fixture
def root_logger() -> Iterator[None]:
    """The root logger is left as it was."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    root.handlers = []  # or pytest's own would be closed by the configuration
    yield
    root.handlers, root.level = before, level


@pytest.fixture(scope="session")
def tiny_model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A llama of two layers and random weights, as the store would hold it."""
    folder = tmp_path_factory.mktemp("tiny-model")
    gguf = write_tiny_gguf(
        tmp_path_factory.mktemp("tiny-gguf") / "tiny.gguf", layers=2, width=128, context_length=TINY_CONTEXT
    )
    convert(gguf, folder)
    return folder


@pytest.fixture(scope="session")
def default_gguf() -> Path:
    """The default model's GGUF file, fetched as users fetch it and kept between runs."""
    cache = cache_folder() / "test-cache"
    file = cache / DEFAULT.hub_file
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / "lock"):
        if file.is_file() and sha256_of(file) == DEFAULT.sha256:
            return file
        with TemporaryDirectory(dir=cache) as temporary:
            return Sources().catalogue(DEFAULT, Path(temporary), silent).path.replace(file)


@pytest.fixture(scope="session")
def real_model() -> StoredModel:
    """The default model; fetched on the first run and kept where `crossette pull` keeps it."""
    root = default_root()
    root.mkdir(parents=True, exist_ok=True)
    with FileLock(root.parent / "tests.lock"):  # workers of one run share the store
        return pull(ModelStore(root), DEFAULT.name, convert)


@pytest.fixture(scope="session")
def real_files(real_model: StoredModel) -> ModelFiles:
    """Its measurements are not kept: each load makes its own."""
    return replace(model_files(real_model), cache=None)


@pytest.fixture(scope="session")
def real_engine(real_files: ModelFiles) -> Iterator[OpenVINOEngine]:
    """The default model, loaded with the settings of `crossette serve` but for a modest cache."""
    engine = OpenVINOEngine.load(real_files, OpenVINOSettings(kv_cache="256MiB"))
    yield engine
    engine.close()


@pytest.fixture
def fuzz(request: pytest.FixtureRequest) -> int:
    """How many times the usual number of examples a random test should try."""
    times: int = request.config.getoption("--fuzz")
    return times


@pytest.fixture(scope="session")
def shared_api() -> Iterator[ApiServer]:
    with serving_api(aliases=ALIASES, max_body_bytes=2**20) as server:
        yield server


@pytest.fixture
def api(shared_api: ApiServer) -> Iterator[ApiServer]:
    """One server for all tests that only talk to it; and nothing may be left on its engine."""
    yield shared_api
    shared_api.wait_until_idle()


@pytest.fixture(params=PREFIXES)
def prefix(request: pytest.FixtureRequest) -> str:
    """Each dialect's base path."""
    chosen: str = request.param
    return chosen
