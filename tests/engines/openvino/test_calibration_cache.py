"""A note is found by the same facts on the same machine, and by nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from crossette.engines.openvino import calibration_cache as notes_file
from crossette.engines.openvino.calibration_cache import CalibrationCache


@pytest.fixture(autouse=True)
def cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notes_file, "cpu_identity", lambda: "a CPU")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with one note; made by the first note."""
    CalibrationCache(tmp_path / "made" / "notes", "a graph", environ={"ONEDNN_X": "1"}).write(b"facts", b"a note")
    return tmp_path / "made" / "notes"


def test_a_note_is_found_at_the_next_start(folder: Path) -> None:
    assert CalibrationCache(folder, "a graph", environ={"ONEDNN_X": "1", "HOME": "/"}).read(b"facts") == b"a note"
    assert len(list(folder.iterdir())) == 1


def test_a_note_is_not_found_for_other_facts(folder: Path) -> None:
    notes = CalibrationCache(folder, "a graph", environ={"ONEDNN_X": "1"})

    assert [notes.read(facts) for facts in (b"", b"fact", b"facts ", b"Facts")] == [None] * 4


def test_a_note_is_not_found_for_another_graph(folder: Path) -> None:
    assert CalibrationCache(folder, "another graph", environ={"ONEDNN_X": "1"}).read(b"facts") is None


@pytest.mark.parametrize("environ", [{}, {"ONEDNN_X": "2"}, {"ONEDNN_X": "1", "OV_Y": ""}])
def test_a_note_is_not_found_where_kernels_are_steered_otherwise(folder: Path, environ: dict[str, str]) -> None:
    assert CalibrationCache(folder, "a graph", environ=environ).read(b"facts") is None


def test_a_note_is_not_found_on_another_cpu(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notes_file, "cpu_identity", lambda: "another CPU")

    assert CalibrationCache(folder, "a graph", environ={"ONEDNN_X": "1"}).read(b"facts") is None


def test_a_note_is_not_found_by_other_code(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notes_file, "_code", lambda: "other code")

    assert CalibrationCache(folder, "a graph", environ={"ONEDNN_X": "1"}).read(b"facts") is None


def test_nothing_is_kept_where_the_cpu_is_not_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notes_file, "cpu_identity", lambda: None)
    notes = CalibrationCache(tmp_path, "a graph", environ={})

    notes.write(b"facts", b"a note")

    assert notes.read(b"facts") is None
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    notes = CalibrationCache(tmp_path / "file", "a graph", environ={})

    notes.write(b"facts", b"a note")

    assert notes.read(b"facts") is None
