"""The model store: models are complete, also after killed processes and concurrent writes."""

from __future__ import annotations

import os
import time
from pathlib import Path
from threading import Barrier, Thread

import pytest

from crossette.errors import ModelError
from crossette.models.store import ModelRecord, ModelStore, StoredModel, default_root


def record(source: str = "here", **changes: object) -> ModelRecord:
    fields: dict[str, object] = {
        "source": source,
        "revision": "1",
        "sha256": None,
        "architecture": "llama",
        "quantization": "Q4_1",
        "context_length": 8192,
        "end_token_ids": frozenset({32, 2, 7}),
        "add_bos": False,
        "converter": None,
        "created": 1_700_000_000,
    }
    return ModelRecord(**{**fields, **changes})  # type: ignore[arg-type]  # the builder's fields are by name


def add(store: ModelStore, name: str, source: str = "here", *, replace: bool = False) -> None:
    with store.add(name, replace=replace) as folder:
        (folder / "weights").write_bytes(b"12345")
        store.write_record(folder, record(source))


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


def test_a_model_is_found_with_the_record_it_was_stored_with(store: ModelStore) -> None:
    add(store, "tiny")

    assert store.find("tiny") == StoredModel("tiny", store.root / "tiny", record())
    assert [model.name for model in store.models()] == ["tiny"]


def test_end_tokens_are_a_sorted_list_in_the_file(store: ModelStore) -> None:
    add(store, "tiny")

    text = (store.root / "tiny" / "crossette.json").read_text()

    assert '"end_token_ids": [\n    2,\n    7,\n    32\n  ]' in text
    assert '"format": 1' in text


def test_an_empty_store_needs_no_folder(store: ModelStore) -> None:
    assert (store.models(), store.find("tiny")) == ([], None)


def test_size_counts_all_files(store: ModelStore) -> None:
    add(store, "tiny")

    [model] = store.models()

    assert model.size == 5 + (model.path / "crossette.json").stat().st_size


def test_an_add_that_fails_leaves_nothing(store: ModelStore) -> None:
    with pytest.raises(ModelError, match="broken"), store.add("tiny") as folder:
        (folder / "half").write_bytes(b"1")
        raise ModelError("broken")

    assert list(store.root.iterdir()) == []


def test_an_incomplete_model_is_not_listed(store: ModelStore) -> None:
    with store.add("tiny") as folder:
        store.write_record(folder, record())

        assert (store.models(), store.find("tiny"), store.names()) == ([], None, [])


def test_leftovers_of_a_killed_process_are_deleted_after_a_day_and_downloads_after_a_week(store: ModelStore) -> None:
    store.root.mkdir()
    days = {".old.1": 1.1, ".young.1": 0.1, ".old.download": 7.1, ".young.download": 6.9}
    for name, age_s in ((name, 24 * 3600 * age) for name, age in days.items()):
        (store.root / name).mkdir()
        os.utime(store.root / name, (time.time() - age_s,) * 2)

    add(store, "tiny")

    assert sorted(path.name for path in store.root.iterdir()) == [".young.1", ".young.download", "tiny"]


def test_two_concurrent_adds_leave_one_complete_model(store: ModelStore) -> None:
    both_filled = Barrier(2)

    def add_slowly(source: str) -> None:
        with store.add("tiny") as folder:
            store.write_record(folder, record(source))
            both_filled.wait(10)

    threads = [Thread(target=add_slowly, args=(source,)) for source in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)

    assert [path.name for path in store.root.iterdir()] == ["tiny"]
    assert [model.record.source for model in store.models()] in (["a"], ["b"])


def test_replace_replaces_the_old_model(store: ModelStore) -> None:
    add(store, "tiny", "old")
    add(store, "tiny", "new", replace=True)

    assert [model.record.source for model in store.models()] == ["new"]
    assert [path.name for path in store.root.iterdir()] == ["tiny"]


def test_remove_also_deletes_an_unreadable_model(store: ModelStore) -> None:
    add(store, "good")
    (store.root / "broken").mkdir()

    store.remove("good")
    store.remove("broken")

    assert list(store.root.iterdir()) == []


@pytest.mark.parametrize("name", ["nothing", "../models", "", ".", ".."])
def test_remove_of_an_unknown_model_is_rejected(store: ModelStore, name: str) -> None:
    add(store, "tiny")

    with pytest.raises(ModelError, match=r"There is no model .* Models: tiny\."):
        store.remove(name)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "not a complete model"),
        (b"{", "Can't read"),
        (b'{"format": 2}', "has format 2, but this version supports 1"),
        (b'{"format": 1}', "missing required field"),
    ],
)
def test_an_unreadable_model_is_an_error_in_find_and_not_listed(
    store: ModelStore, content: bytes | None, message: str
) -> None:
    (store.root / "odd").mkdir(parents=True)
    if content is not None:
        (store.root / "odd" / "crossette.json").write_bytes(content)

    with pytest.raises(ModelError, match=f"{message}.*crossette models rm odd"):
        store.find("odd")
    assert store.models() == []


def test_the_default_root_is_below_crossette_home(tmp_path: Path) -> None:
    assert default_root({"CROSSETTE_HOME": str(tmp_path)}) == tmp_path / "models"
