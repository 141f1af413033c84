"""Which adapters a server has: from flags and tables to the models that they belong to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from crossette.engine import ModelFiles
from crossette.errors import ConfigError, ModelError
from crossette.models.adapters import find_adapter
from crossette.models.store import ModelStore, StoredModel
from crossette.server import served
from crossette.server.served import aliases, choose_models, model_pool
from crossette.server.settings import Settings, load_settings
from support.lora_adapters import random_matrices, write_adapter
from support.stored_models import add_model


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    """A store with the models `small`, `large` and, for embeddings, `vectors`."""
    store = ModelStore(tmp_path / "models")
    for name in ("small", "large"):
        add_model(store, name, weights=b"\0" * 1000)
    add_model(store, "vectors", kind="embedding")
    return store


@pytest.fixture
def pull(store: ModelStore) -> Callable[[str], StoredModel]:
    def pull(reference: str) -> StoredModel:
        found = store.find(reference)
        assert found is not None
        return found

    return pull


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    return write_adapter(tmp_path / "adapter", random_matrices(2))


def settings(tmp_path: Path, text: str = "", **flags: Any) -> Settings:  # Any: values of flags
    file = tmp_path / "crossette.toml"
    file.write_text(text, encoding="utf-8")
    return load_settings(flags, {}, file)


def test_adapters_come_from_flags_and_tables(
    tmp_path: Path,
    pull: Callable[[str], StoredModel],
    store: ModelStore,
    adapter: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = f"""
        [models.sailor]
        adapter = "{adapter}"
        base = "large"
        alias = ["gpt-4o"]
        [models.cook]
        adapter = "{adapter}"
    """
    flags = {"model": ("small", "large"), "adapter": (f"pirate={adapter}", f"lawyer@large={adapter}")}
    loaded = settings(tmp_path, text, **flags)
    chosen = choose_models(loaded, pull, store)
    files: list[ModelFiles] = []
    monkeypatch.setattr(served, "load_engine", lambda found, *_: files.append(found))
    pool = model_pool(chosen, loaded)
    for model in pool.models.values():
        model.source.load()

    assert {one.name: [adapter.name for adapter in one.adapters] for one in chosen} == {
        "small": ["pirate", "cook"],
        "large": ["lawyer", "sailor"],
    }
    assert aliases(chosen, ["a"]) == {"a": "small", "gpt-4o": "sailor"}
    assert {name: one.base.name for name, one in pool.adapters.items()} == {
        "pirate": "small",
        "cook": "small",
        "lawyer": "large",
        "sailor": "large",
    }
    assert [dict(found.adapters) for found in files] == [
        {"pirate": adapter, "cook": adapter},
        {"lawyer": adapter, "sailor": adapter},
    ]
    assert all(model.source.weights > 2000 for model in pool.models.values())


@pytest.mark.parametrize(
    ("text", "flags", "message"),
    [
        ("", {"adapter": ("pirate",)}, "--adapter 'pirate' must be NAME=FOLDER"),
        ("", {"adapter": ("pirate@huge=HERE",)}, "base of the adapter 'pirate' is 'huge', which is not served.*small"),
        ("", {"adapter": ("small=HERE",)}, "have the name 'small'. Rename one"),
        ("", {"adapter": ("a=HERE", "a=HERE")}, "have the name 'a'"),
        ("", {"adapter": ("a@vectors=HERE",)}, "'vectors', an embedding model"),
        ('[models.a]\nadapter = "HERE"\nkv_cache = "1GiB"', {}, r"\[models.a\] is an adapter and sets kv_cache"),
        ('[models.a]\nref = "small"\nbase = "small"', {}, r"\[models.a\] has a base, but no adapter"),
        ('[models.a]\nadapter = "HERE"\nalias = "b"', {"adapter": ("c=HERE",), "alias": ("b=c",)}, "alias of two"),
    ],
)
def test_mistakes_are_named(
    tmp_path: Path,
    pull: Callable[[str], StoredModel],
    store: ModelStore,
    adapter: Path,
    text: str,
    flags: dict[str, tuple[str, ...]],
    message: str,
) -> None:
    flags = {name: tuple(value.replace("HERE", str(adapter)) for value in given) for name, given in flags.items()}
    loaded = settings(tmp_path, text.replace("HERE", str(adapter)), model=("small", "vectors"), **flags)

    with pytest.raises(ConfigError, match=message):
        aliases(choose_models(loaded, pull, store), loaded.server.alias)


def test_a_folder_without_an_adapter_is_named(tmp_path: Path, adapter: Path) -> None:
    assert find_adapter(str(adapter)) == adapter
    (adapter / "adapter_model.safetensors").unlink()

    with pytest.raises(ModelError, match=r"is not a LoRA adapter: it has no adapter_model.safetensors"):
        find_adapter(str(adapter))
    with pytest.raises(ModelError, match=r"'nowhere' is not a LoRA adapter: it has no adapter_config.json and no"):
        find_adapter("nowhere")


def test_an_adapter_of_the_hub_is_downloaded(adapter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str | None, list[str]]] = []

    def snapshot_download(repo: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        asked.append((repo, revision, allow_patterns))
        if repo == "org/missing":
            raise OSError("404")
        return str(adapter)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)

    assert find_adapter("hf:org/pirate@v1") == adapter
    assert asked == [("org/pirate", "v1", ["adapter_config.json", "adapter_model.safetensors"])]
    with pytest.raises(ModelError, match="Can't download the adapter org/missing: 404"):
        find_adapter("hf:org/missing")
