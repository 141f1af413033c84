"""Shared fixtures: a tiny model with random weights, the real default model, and an API server."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from filelock import FileLock
from hypothesis import settings

from crossette.engine import ModelFiles
from crossette.engines.openvino.convert import convert
from crossette.engines.openvino.embedder.embedder import OpenVINOEmbedder
from crossette.engines.openvino.engine import OpenVINOEngine
from crossette.engines.openvino.settings import OpenVINOSettings
from crossette.folders import cache_folder
from crossette.models.catalogue import DEFAULT, EMBEDDING
from crossette.models.fetch import sha256_of
from crossette.models.pull import no_check, no_progress, pull
from crossette.models.sources import Sources
from crossette.models.store import ModelStore, StoredModel, default_root
from crossette.server.served import model_files
from support.api_server import ALIASES, PREFIXES, ApiServer
from support.api_server import serving as serving_api
from support.engine_calls import TINY_CONTEXT
from support.tiny_model import write_tiny_gguf

_MODELS = frozenset(
    {"tiny_model_dir", "default_gguf", "real_model", "real_files", "real_engine", "embedding_model", "embedder"}
)
"""Fixtures that convert or compute with a model."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--few", type=int, metavar="N", help="N cases of each test, and none that needs a model or takes long"
    )
    parser.addoption("--all", action="store_true", help="also run tests with real clients in separate environments")
    parser.addoption("--fuzz", type=int, default=1, metavar="N", help="multiply the number of random requests by N")
    parser.addoption("--corpus", action="store_true", help="also test every schema with the model: about ten minutes")
    parser.addoption("--vllm", metavar="PROGRAM", help="also test with a real vLLM, started by this program")
    parser.addoption("--write-docs", action="store_true", help="write the generated pages under docs/")


def pytest_configure(config: pytest.Config) -> None:
    settings.register_profile("default", deadline=None)  # no deadline: the machine may be busy
    settings.register_profile("long", max_examples=2000, deadline=None)  # --hypothesis-profile long
    settings.register_profile("fast", max_examples=5, deadline=None)
    settings.load_profile(config.getoption("--hypothesis-profile") or "default")
    config.addinivalue_line("markers", "all: requires more than Python; runs only with --all")
    config.addinivalue_line("markers", "vllm: requires vLLM; runs only with --vllm PROGRAM")
    config.addinivalue_line("markers", "corpus: takes minutes with a model; runs only with --corpus")
    config.addinivalue_line(
        "markers", "model: computes with a model, real or random; scripts/test --fast leaves it out"
    )
    config.addinivalue_line(
        "markers", "fireworks: the same test in Fireworks' dialect; scripts/test --fast leaves it out"
    )
    config.addinivalue_line("markers", "slow: takes long without a model; scripts/test --fast leaves it out")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if isinstance(item, pytest.Function):
            cases = item.callspec.params if hasattr(item, "callspec") else {}
            if not _MODELS.isdisjoint(item.fixturenames) or any(
                isinstance(case, str) and case == "openvino" for case in cases.values()
            ):
                item.add_marker("model")
            if cases.get("prefix") == PREFIXES[-1]:
                item.add_marker("fireworks")
    if (most := config.getoption("--few")) is not None:
        _keep_few(config, items, most)
    for name in ("all", "corpus", "vllm"):
        if not config.getoption(f"--{name}"):
            for item in items:
                if item.get_closest_marker(name):
                    item.add_marker(pytest.mark.skip(reason=f"runs only with --{name}"))


def _keep_few(config: pytest.Config, items: list[pytest.Item], most: int) -> None:
    """Deselect all but `most` cases of each test function."""
    num_cases: Counter[str] = Counter()
    kept: list[pytest.Item] = []
    left_out: list[pytest.Item] = []
    for item in items:
        is_left_out = any(item.get_closest_marker(name) for name in ("all", "model", "slow", "fireworks"))
        function = item.nodeid.partition("[")[0]
        num_cases[function] += not is_left_out
        (kept if not is_left_out and num_cases[function] <= most else left_out).append(item)
    config.hook.pytest_deselected(items=left_out)
    items[:] = kept


@pytest.fixture(scope="session", autouse=True)
def _own_database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Servers and commands in tests do not use the user's keys and ledger."""
    file = tmp_path_factory.mktemp("database") / "crossette.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CROSSETTE_DATABASE_URL", f"sqlite:///{file}")
        yield


@pytest.fixture
def root_logger() -> Iterator[None]:
    """Restore the root logger after the test."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    root.handlers = []  # or the configuration would close pytest's handlers
    yield
    root.handlers, root.level = before, level


@pytest.fixture(scope="session")
def tiny_model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a Llama model with two layers and random weights, as in the store."""
    folder = tmp_path_factory.mktemp("tiny-model")
    gguf = write_tiny_gguf(
        tmp_path_factory.mktemp("tiny-gguf") / "tiny.gguf", layers=2, width=128, context_length=TINY_CONTEXT
    )
    convert(gguf, folder)
    return folder


@pytest.fixture(scope="session")
def default_gguf() -> Path:
    """The default model's GGUF file, downloaded once and cached between runs."""
    cache = cache_folder() / "test-cache"
    file = cache / DEFAULT.hub_file
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / "lock"):
        if file.is_file() and sha256_of(file) == DEFAULT.sha256:
            return file
        with TemporaryDirectory(dir=cache) as temporary:
            return Sources().catalogue(DEFAULT, Path(temporary), no_progress, no_check).path.replace(file)


@pytest.fixture(scope="session")
def real_model() -> StoredModel:
    """The default model, pulled into the user's model store on the first run."""
    root = default_root()
    root.mkdir(parents=True, exist_ok=True)
    with FileLock(root.parent / "tests.lock"):  # workers of one run share the store
        return pull(ModelStore(root), DEFAULT.name, convert)


@pytest.fixture(scope="session")
def embedding_model() -> StoredModel:
    """The catalogue's embedding model, pulled into the user's model store on the first run."""
    root = default_root()
    root.mkdir(parents=True, exist_ok=True)
    with FileLock(root.parent / "tests.lock"):
        return pull(ModelStore(root), EMBEDDING.name, convert)


@pytest.fixture(scope="session")
def embedder(embedding_model: StoredModel) -> Iterator[OpenVINOEmbedder]:
    """It, loaded: a test leaves it idle."""
    loaded = OpenVINOEmbedder.load(model_files(embedding_model), OpenVINOSettings())
    yield loaded
    loaded.close()


@pytest.fixture(scope="session")
def real_files(real_model: StoredModel) -> ModelFiles:
    """The files of the default model without a calibration cache: each load measures again."""
    return replace(model_files(real_model), cache=None)


@pytest.fixture(scope="session")
def real_engine(real_files: ModelFiles) -> Iterator[OpenVINOEngine]:
    """The default model, loaded with the default settings and a small KV cache."""
    engine = OpenVINOEngine.load(real_files, OpenVINOSettings(kv_cache="256MiB"))
    yield engine
    engine.close()


@pytest.fixture
def fuzz(request: pytest.FixtureRequest) -> int:
    """The multiplier of `--fuzz` for the number of random examples."""
    times: int = request.config.getoption("--fuzz")
    return times


@pytest.fixture(scope="session")
def shared_api() -> Iterator[ApiServer]:
    with serving_api(aliases=ALIASES, max_body_bytes=2**20) as server:
        yield server


@pytest.fixture
def api(shared_api: ApiServer) -> Iterator[ApiServer]:
    """The shared server. Its engine must be idle after each test."""
    yield shared_api
    shared_api.wait_until_idle()


@pytest.fixture(params=PREFIXES)
def prefix(request: pytest.FixtureRequest) -> str:
    """The base path of each dialect."""
    chosen: str = request.param
    return chosen
