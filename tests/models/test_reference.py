"""Model references and the names of models in the store."""

from __future__ import annotations

from pathlib import Path

import pytest

from crossette.errors import ModelError
from crossette.models.catalogue import DEFAULT
from crossette.models.reference import CatalogueRef, FolderRef, GgufRef, HubRef, StoredRef, parse


def ir_folder(path: Path) -> Path:
    path.mkdir()
    (path / "openvino_model.xml").write_text("<net/>")
    return path


def test_the_default_model_is_in_the_catalogue() -> None:
    reference = parse("smollm2-135m-instruct")

    assert reference == CatalogueRef(DEFAULT)
    assert reference.name == "smollm2-135m-instruct"


@pytest.mark.parametrize(
    ("text", "reference", "name"),
    [
        ("hf:Org/Repo-1.5", HubRef("Org/Repo-1.5"), "Org--Repo-1.5"),
        ("hf:o/r:m.Q4_0.gguf", HubRef("o/r", "m.Q4_0.gguf"), "o--r--m.Q4_0"),
        ("hf:o/r:sub/m.gguf", HubRef("o/r", "sub/m.gguf"), "o--r--sub-m"),
        ("hf:o/r@v1", HubRef("o/r", None, "v1"), "o--r--v1"),
        ("hf:o/r@refs/pr/1:m.gguf", HubRef("o/r", "m.gguf", "refs/pr/1"), "o--r--m--refs-pr-1"),
    ],
)
def test_hub_references_are_parsed_named_and_formatted_canonically(text: str, reference: HubRef, name: str) -> None:
    parsed = parse(text)

    assert (parsed, parsed.name) == (reference, name)
    assert reference.source == text


@pytest.mark.parametrize(
    "text",
    [
        "hf:",
        "hf:r",
        "hf:o/r:m.bin",
        "hf:../r",
        "hf:o/r/x",
        "hf:o/r:",
        "hf:o/r@",
        "hf:o/r:../m.gguf",
        "hf:o/r:/m.gguf",
        "hf:o/r:a/../m.gguf",
    ],
)
def test_the_error_for_an_invalid_hub_reference_has_the_valid_forms(text: str) -> None:
    with pytest.raises(ModelError, match=r"hf:ORG/REPO, hf:ORG/REPO:FILE\.gguf"):
        parse(text)


def test_a_gguf_file_is_named_by_its_stem(tmp_path: Path) -> None:
    file = tmp_path / "My model.Q8_0.gguf"
    file.touch()

    reference = parse(str(file))

    assert (reference, reference.name) == (GgufRef(file), "My-model.Q8_0")


def test_a_linked_file_keeps_the_name_of_the_link(tmp_path: Path) -> None:
    (tmp_path / "0a1b2c").touch()
    (tmp_path / "model.gguf").symlink_to(tmp_path / "0a1b2c")

    assert parse(str(tmp_path / "model.gguf")).name == "model"


def test_a_relative_path_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = ir_folder(tmp_path / "granite")
    monkeypatch.chdir(tmp_path)

    assert parse("granite") == FolderRef(folder)
    assert parse("./granite/") == FolderRef(folder)


def test_a_folder_without_a_graph_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"it has no openvino_model\.xml"):
        parse(str(tmp_path))


def test_the_name_of_a_stored_model_is_a_reference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of the same name that is not a model does not take precedence."""
    (tmp_path / "o--r").mkdir()
    monkeypatch.chdir(tmp_path)

    assert parse("o--r", ["o--r"]) == StoredRef("o--r")


def test_the_error_for_an_unknown_model_has_the_valid_forms() -> None:
    with pytest.raises(ModelError) as caught:
        parse("xyzzy", ["o--r"])

    assert str(caught.value) == (
        "There is no model 'xyzzy': it is neither a known name nor an existing path."
        " Give a name of `crossette pull` or `crossette models`, hf:ORG/REPO, hf:ORG/REPO:FILE.gguf, a .gguf file, or a"
        " folder of OpenVINO files."
    )


@pytest.mark.parametrize(
    ("text", "names"), [("Qwen3:4b", "qwen3-4b"), ("mine-1", "mine"), ("llama-3.2-1b", "llama-3.2")]
)
def test_the_error_for_an_unknown_model_has_names_like_it(text: str, names: str) -> None:
    with pytest.raises(ModelError, match=rf"nor an existing path\. Names like it: [^:]*{names}"):
        parse(text, ["mine"])


def test_the_error_for_a_repository_without_prefix_suggests_the_prefix() -> None:
    with pytest.raises(ModelError, match="use hf:OpenVINO/some-model"):
        parse("OpenVINO/some-model")
