"""`crossette pull` without a reference: the models with a short name."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from crossette.cli import main as cli
from crossette.machine import format_memory
from crossette.models.catalogue import CATALOGUE, DEFAULT
from crossette.models.store import ModelStore
from support.stored_models import add_model


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelStore:
    """The empty store that the commands use."""
    monkeypatch.setenv("CROSSETTE_HOME", str(tmp_path))
    return ModelStore(tmp_path / "models")


def listed() -> dict[str, str]:
    """The lines of `crossette pull`, by name."""
    ended = CliRunner().invoke(cli.app, ["pull"])
    assert ended.exit_code == 0, ended.output
    return {line.split()[0]: line for line in ended.stdout.splitlines()}


def test_every_model_of_the_catalogue_is_listed_with_size_licence_and_description(store: ModelStore) -> None:
    lines = listed()

    for entry in CATALOGUE.values():
        for text in (format_memory(entry.download_size), entry.license, entry.description):
            assert text in lines[entry.name]


def test_the_list_states_which_models_are_in_the_store(store: ModelStore) -> None:
    assert " no " in listed()[DEFAULT.name]

    add_model(store, DEFAULT.name, source=DEFAULT.name)
    assert " yes " in listed()[DEFAULT.name]


def test_a_stored_model_of_the_same_name_from_elsewhere_is_another_one(store: ModelStore) -> None:
    add_model(store, DEFAULT.name, source=f"/somewhere/{DEFAULT.name}.gguf")

    assert " no " in listed()[DEFAULT.name]


def test_the_list_names_the_other_references(store: ModelStore) -> None:
    text = CliRunner().invoke(cli.app, ["pull"]).stdout

    assert "hf:ORG/REPO[:FILE.gguf]" in text
    assert "a .gguf file" in text
