"""Image-text models in the store: which files they need, and which of them see."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from crossette.errors import ModelError
from crossette.models.facts import end_token_ids, read_ir_facts
from crossette.models.graphs import IMAGE_TEXT_FILES, VISION_XML, sees
from crossette.models.pull import pull
from crossette.models.sources import Sources
from crossette.models.store import ModelStore, StoredModel
from crossette.server.served import model_files
from support.model_fakes import FakeHub, fake_convert, no_wheel
from support.vision_model import FOLDER

STORED = (
    *("chat_template.jinja", "config.json", "openvino_language_model.bin"),
    *(name for name in IMAGE_TEXT_FILES if "per_layer" not in name),
)


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the exported model that tests may change."""
    return Path(shutil.copytree(FOLDER, tmp_path / "seen"))


def pulled(store: ModelStore, reference: str, hub: FakeHub | None = None) -> StoredModel:
    return pull(store, reference, fake_convert, sources=Sources(hub or FakeHub(), no_wheel))


def test_a_folder_is_stored_with_all_its_graphs(store: ModelStore, folder: Path) -> None:
    model = pulled(store, str(folder))

    assert all((model.path / name).is_file() for name in STORED)
    assert (model.record.architecture, model.record.context_length) == ("llama", 4096)
    files = model_files(model)
    assert files.sees
    assert files.info(context_length=1, vocab_size=0).sees
    assert pulled(store, str(folder)).record.created == model.record.created


def test_graphs_of_embeddings_for_each_layer_are_stored(store: ModelStore, folder: Path) -> None:
    files = [name for name in IMAGE_TEXT_FILES if "per_layer" in name]
    for name in files:
        (folder / name).write_bytes(b"graph")

    path = pulled(store, str(folder)).path

    assert [(path / name).read_bytes() for name in files] == [b"graph", b"graph"]


def test_a_repository_is_downloaded_with_all_its_graphs(store: ModelStore) -> None:
    hub = FakeHub({"o/r": {path.name: path.read_bytes() for path in FOLDER.iterdir()}})
    model = pulled(store, "hf:o/r", hub)

    assert all((model.path / name).is_file() for name in STORED)
    assert model_files(model).sees


def test_without_a_vision_graph_it_reads_text(store: ModelStore, folder: Path) -> None:
    (folder / VISION_XML).unlink()

    assert not model_files(pulled(store, str(folder))).sees


@pytest.mark.parametrize("name", ["openvino_language_model.bin", "openvino_text_embeddings_model.xml"])
def test_a_missing_graph_is_named(store: ModelStore, folder: Path, name: str) -> None:
    (folder / name).unlink()

    with pytest.raises(ModelError, match=f"it has no {name}"):
        pulled(store, str(folder))


@pytest.mark.parametrize(
    ("family", "expected"), [("smolvlm", True), ("idefics3", True), ("qwen2_vl", False), ("llava", False)]
)
def test_only_families_whose_images_are_supported_see(folder: Path, family: str, expected: bool) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": family}))

    assert sees(folder) is expected


@pytest.mark.parametrize("config", [None, "", "[]", '{"model_type": 5}'])
def test_a_folder_without_a_readable_config_does_not_see(folder: Path, config: str | None) -> None:
    (folder / "config.json").unlink()
    if config is not None:
        (folder / "config.json").write_text(config)

    assert not sees(folder)


def test_the_end_of_a_turn_is_an_end_token() -> None:
    assert end_token_ids(read_ir_facts(FOLDER, "x")) >= {2}
