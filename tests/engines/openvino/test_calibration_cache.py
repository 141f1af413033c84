"""A cached result is found with the same key on the same machine only."""

from __future__ import annotations

from pathlib import Path

import pytest

from crossette.engines.openvino import calibration_cache
from crossette.engines.openvino.calibration_cache import CalibrationCache


@pytest.fixture(autouse=True)
def cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration_cache, "cpu_identity", lambda: "a CPU")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with one result, which created it."""
    CalibrationCache(tmp_path / "made" / "cache", "a graph", environ={"ONEDNN_X": "1"}).write(b"key", b"a result")
    return tmp_path / "made" / "cache"


def test_a_result_is_found_at_the_next_start(folder: Path) -> None:
    assert CalibrationCache(folder, "a graph", environ={"ONEDNN_X": "1", "HOME": "/"}).read(b"key") == b"a result"
    assert len(list(folder.iterdir())) == 1


def test_a_result_is_not_found_for_another_key(folder: Path) -> None:
    cache = CalibrationCache(folder, "a graph", environ={"ONEDNN_X": "1"})

    assert [cache.read(key) for key in (b"", b"ke", b"key ", b"Key")] == [None] * 4


def test_a_result_is_not_found_for_another_graph(folder: Path) -> None:
    assert CalibrationCache(folder, "another graph", environ={"ONEDNN_X": "1"}).read(b"key") is None


@pytest.mark.parametrize("environ", [{}, {"ONEDNN_X": "2"}, {"ONEDNN_X": "1", "OV_Y": ""}])
def test_a_result_is_not_found_with_other_environment_variables(folder: Path, environ: dict[str, str]) -> None:
    assert CalibrationCache(folder, "a graph", environ=environ).read(b"key") is None


def test_a_result_is_not_found_on_another_cpu(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration_cache, "cpu_identity", lambda: "another CPU")

    assert CalibrationCache(folder, "a graph", environ={"ONEDNN_X": "1"}).read(b"key") is None


def test_a_result_is_not_found_by_other_code(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration_cache, "_code", lambda: "other code")

    assert CalibrationCache(folder, "a graph", environ={"ONEDNN_X": "1"}).read(b"key") is None


def test_nothing_is_cached_where_the_cpu_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration_cache, "cpu_identity", lambda: None)
    cache = CalibrationCache(tmp_path, "a graph", environ={})

    cache.write(b"key", b"a result")

    assert cache.read(b"key") is None
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_not_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    cache = CalibrationCache(tmp_path / "file", "a graph", environ={})

    cache.write(b"key", b"a result")

    assert cache.read(b"key") is None
