"""Which models a server serves, and how each is loaded: from flags, the environment and the configuration file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from crossette.engines.openvino.settings import OpenVINOSettings
from crossette.errors import ConfigError
from crossette.machine import parse_memory
from crossette.models.store import ModelStore, StoredModel
from crossette.server import served
from crossette.server.served import aliases, choose_models, loaded_at_start, model_pool
from crossette.server.settings import Settings, load_settings
from support.stored_models import add_model

GIB = 2**30
FREE = 20 * GIB


@pytest.fixture(autouse=True)
def _machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served, "free_memory", lambda: FREE)


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    """A store with the models `small` and `large`."""
    store = ModelStore(tmp_path / "models")
    for name in ("small", "large"):
        add_model(store, name, weights=b"\0" * 1000)
    return store


@pytest.fixture
def pull(store: ModelStore) -> Callable[[str], StoredModel]:
    """Pulls a reference as a model of the store that has its last part as name."""

    def pull(reference: str) -> StoredModel:
        name = reference.rpartition("/")[2]
        return store.find(name) or add_model(store, name, weights=b"\0" * 1000)

    return pull


def settings(tmp_path: Path, text: str = "", **flags: Any) -> Settings:  # Any: values of flags
    file = tmp_path / "crossette.toml"
    file.write_text(text, encoding="utf-8")
    return load_settings(flags, {}, file)


def test_without_a_model_the_default_one_is_served(
    tmp_path: Path, pull: Callable[[str], StoredModel], store: ModelStore
) -> None:
    (only,) = choose_models(settings(tmp_path), pull, store)

    assert only.name == "smollm2-135m-instruct"
    assert loaded_at_start([only]) == [only.name]


def test_models_come_from_flags_tables_and_the_store(
    tmp_path: Path, pull: Callable[[str], StoredModel], store: ModelStore
) -> None:
    text = """
        [server]
        model = "small"
        [models.mine]
        ref = "hf:org/other"
        alias = ["gpt-4o", "gpt-4.1"]
        keep = true
        kv_cache = "1GiB"
        [models.small]
        max-model-len = 100
    """
    chosen = choose_models(settings(tmp_path, text, all=True), pull, store)

    assert [one.name for one in chosen] == ["small", "mine", "large", "other"]
    assert [one.options for one in chosen] == [{"max_model_len": 100}, {"kv_cache": "1GiB"}, {}, {}]
    assert loaded_at_start(chosen) == ["mine"]
    assert aliases(chosen, ["a", "b=large"]) == {"a": "small", "b": "large", "gpt-4o": "mine", "gpt-4.1": "mine"}


def test_the_flag_replaces_the_models_of_the_file_but_not_their_tables(
    tmp_path: Path, pull: Callable[[str], StoredModel], store: ModelStore
) -> None:
    text = '[server]\nmodel = ["small", "large"]\n[models.large]\nidle_unload = 5'
    chosen = choose_models(settings(tmp_path, text, model=("other",)), pull, store)

    assert [one.name for one in chosen] == ["other", "large"]
    assert chosen[1].settings.idle_unload == 5


def test_each_model_has_its_own_memory_and_times(
    tmp_path: Path, pull: Callable[[str], StoredModel], store: ModelStore
) -> None:
    text = """
        [loading]
        memory = "50%"
        idle_unload = 60
        [openvino]
        max_model_len = 1000
        [models.small]
        keep = true
        kv_cache = "1GiB"
        idle_unload = 0
        [models.large]
        kv_cache = "10%"
        max_model_len = 2000
        [models.other]
    """
    loaded = settings(tmp_path, text)
    pool = model_pool(choose_models(loaded, pull, store), loaded)

    sources = [model.source for model in pool.models.values()]
    assert [source.memory - source.weights for source in sources] == [GIB, 2 * GIB, 5 * GIB // 2]
    assert [source.idle_unload_s for source in sources] == [0, 60, 60]
    assert [source.keep for source in sources] == [True, False, False]
    assert [model.info.context_length for model in pool.models.values()] == [1000, 2000, 1000]
    assert pool.memory == FREE // 2
    assert all(source.weights > 1000 for source in sources)


def test_the_engine_gets_the_options_of_the_model(
    tmp_path: Path, pull: Callable[[str], StoredModel], store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[tuple[str, str, OpenVINOSettings]] = []

    def load_engine(files: Any, settings: Any, backend: str) -> None:
        called.append((files.name, files.tool_format, settings[backend]))

    monkeypatch.setattr(served, "load_engine", load_engine)
    text = '[server]\ntool_format = "hermes"\n[openvino]\nthreads = 3\n[models.mine]\nref = "small"\nthreads = 1'
    loaded = settings(tmp_path, text + '\ntool_format = "mistral"\n[models.large]')
    pool = model_pool(choose_models(loaded, pull, store), loaded)
    for model in pool.models.values():
        model.source.load()

    kv_cache = str(parse_memory("30%", FREE))
    assert called == [
        ("mine", "mistral", OpenVINOSettings(threads=1, kv_cache=kv_cache)),
        ("large", "hermes", OpenVINOSettings(threads=3, kv_cache=kv_cache)),
    ]


@pytest.mark.parametrize(
    ("text", "flags", "message"),
    [
        (
            "[models.a]\nkeeep = true",
            {},
            r"\[models\.a\] of .* sets 'keeep', which is an unknown .*Did you mean keep\?",
        ),
        ("[models.a]\nkeep = 3", {}, r"keep in \[models\.a\] of .* cannot be 3\. It must be true or false"),
        ("[models]\na = 1", {}, r"sets 'a' in \[models\]\. It must be a table, \[models\.a\]"),
        ('[models.a]\nengine = "gpu"', {}, r"It must be one of openvino"),
        ('[models.a]\ntool_format = "x"', {}, r"--tool-format 'x' is unknown"),
        ("", {"model": ("small", "x/small")}, r"Two models have the name 'small'"),
        ('[models.a]\nalias = "z"\n[models.b]\nalias = "z"', {}, r"'z' is an alias of two models: a and b"),
        ("", {"model": ("small",), "alias": ("=small",)}, r"--alias '=small' has no name"),
    ],
)
def test_mistakes_are_named(
    tmp_path: Path,
    pull: Callable[[str], StoredModel],
    store: ModelStore,
    text: str,
    flags: dict[str, Any],
    message: str,
) -> None:
    with pytest.raises(ConfigError, match=message):
        loaded = settings(tmp_path, text, **flags)
        aliases(choose_models(loaded, pull, store), loaded.server.alias)


def test_all_of_an_empty_store_is_an_error(tmp_path: Path, pull: Callable[[str], StoredModel]) -> None:
    with pytest.raises(ConfigError, match="crossette pull MODEL"):
        choose_models(settings(tmp_path, all=True), pull, ModelStore(tmp_path / "empty"))
