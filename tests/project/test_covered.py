"""The gates of coverage, and which tests a mutation is shown to."""

from __future__ import annotations

import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

from support.installed import ROOT
from upkeep import covered, mutate

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def report(total: float, **files: float) -> dict[str, Any]:
    summaries = {f"{name}.py": {"summary": {"percent_covered": share}} for name, share in files.items()}
    return {"totals": {"percent_covered": total}, "files": summaries}


def test_every_gate_is_of_a_package_with_tests() -> None:
    gates = covered.gates(PROJECT)

    assert {"text", "accounts/limits"} <= gates.keys()
    for gate in gates.values():
        package = ROOT / "src/crossette" / gate.name
        assert package.is_dir() or package.with_suffix(".py").is_file()
        assert gate.tests
        assert [tests for tests in gate.tests if not (ROOT / tests).exists()] == []
        assert 0 < gate.each <= gate.least <= 100


def test_a_package_and_a_file_below_the_gate_are_named() -> None:
    gate = covered.Gate("text", least=93, each=60, tests=("tests/text",))

    assert gate.faults(report(93, stop=60)) == []
    assert gate.faults(report(92.94, stop=59.5, output=100)) == [
        "text is covered to 92.9 %, and the gate is 93",
        "stop.py is covered to 59.5 %, and the gate is 60",
    ]


def test_an_unknown_package_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert covered.main(["nothing"]) == 2
    assert "No gate: nothing. Gates: accounts/database" in capsys.readouterr().err


def test_a_mutation_is_shown_to_the_tests_of_its_file() -> None:
    assert mutate.tests_of(ROOT, "src/crossette/text/stop.py") == "tests/text/test_stop.py"
    assert mutate.tests_of(ROOT, "src/crossette/text/pieces.py") == "tests/text"


def test_a_mutation_has_the_files_of_the_clone(tmp_path: Path) -> None:
    clone, copied = tmp_path / "clone", tmp_path / "copied"
    (clone / "pkg").mkdir(parents=True)
    for name in ("pyproject.toml", "pkg/a.py", "build.txt"):
        (clone / name).write_text(name)
    (clone / ".gitignore").write_text("build.txt\n")
    subprocess.run(["git", "init", "--quiet", str(clone)], check=True)

    mutate.copy(clone, copied)

    files = {str(path.relative_to(copied)) for path in copied.rglob("*") if path.is_file()}
    assert files == {"pyproject.toml", "pkg/a.py", ".gitignore"}
    table = tomllib.loads(mutate.configuration(["pkg/a.py"], ["tests/a"]))["tool"]["mutmut"]
    assert table["source_paths"] == ["pkg/a.py"]
    assert [path for path in table["also_copy"] if not (ROOT / path).exists()] == []
