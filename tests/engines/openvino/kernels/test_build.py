"""Kernels are compiled once, whatever happens to the file, and a machine without a compiler serves without them."""

from __future__ import annotations

import logging
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from crossette.engines.openvino.kernels import build as build_module
from crossette.engines.openvino.kernels import load as load_module
from crossette.engines.openvino.kernels.build import BuildError, NoCompiler, build
from crossette.engines.openvino.kernels.load import load_kernels, open_kernels

COMPILER = """#!/bin/sh
echo run >> '{log}'
sleep {seconds}
while [ "$1" != -o ]; do shift; done
echo library > "$2"
"""


class Compiler:
    """A program that writes a file where a compiler would, and counts."""

    def __init__(self, folder: Path, seconds: float = 0) -> None:
        self.path, self._log = folder / "compiler", folder / "runs"
        self._log.touch()
        self.path.write_text(COMPILER.format(log=self._log, seconds=seconds))
        self.path.chmod(self.path.stat().st_mode | stat.S_IXUSR)

    @property
    def num_runs(self) -> int:
        return len(self._log.read_text().splitlines())


@pytest.fixture(autouse=True)
def _a_cpu_that_the_kernels_know(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_module, "cpu_identity", lambda: "flags: avx2 fma")
    monkeypatch.setattr("sys.platform", "linux")


@pytest.fixture
def compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Compiler:
    made = Compiler(tmp_path)
    monkeypatch.setenv("CXX", str(made.path))
    return made


def test_kernels_are_compiled_once(tmp_path: Path, compiler: Compiler) -> None:
    first = build(tmp_path / "kernels")
    assert build(tmp_path / "kernels") == first
    assert first.read_bytes().startswith(b"library")
    assert list((tmp_path / "kernels").iterdir()) == [first]
    assert compiler.num_runs == 1


def test_another_cpu_or_other_flags_have_other_kernels(
    tmp_path: Path, compiler: Compiler, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = {build(tmp_path), build(tmp_path, ["-mno-avx512f"])}
    monkeypatch.setattr(build_module, "cpu_identity", lambda: "flags: avx2 fma avx512f")
    paths.add(build(tmp_path))
    assert len(paths) == compiler.num_runs == 3


@pytest.mark.parametrize("damage", [b"", b"short", b"another file, longer than its hash would be, of any content"])
def test_a_damaged_library_is_compiled_again(tmp_path: Path, compiler: Compiler, damage: bytes) -> None:
    path = build(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(damage)
    assert build(tmp_path) == path
    assert path.read_bytes() == whole
    assert compiler.num_runs == 2


def test_servers_that_start_together_all_have_a_whole_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Compiler(tmp_path, seconds=0.5)
    monkeypatch.setenv("CXX", str(slow.path))
    with ThreadPoolExecutor(4) as executor:
        paths = set(executor.map(build, [tmp_path / "kernels"] * 4))
    assert list((tmp_path / "kernels").iterdir()) == [*paths]
    runs = slow.num_runs
    assert build(tmp_path / "kernels") in paths
    assert slow.num_runs == runs


def test_the_error_of_a_compiler_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failing = tmp_path / "failing"
    failing.write_text("#!/bin/sh\necho notes >&2\necho 'vector.hpp: error: no such thing' >&2\nexit 1\n")
    failing.chmod(0o755)
    monkeypatch.setenv("CXX", str(failing))
    with pytest.raises(BuildError, match=r"failing failed: vector\.hpp: error: no such thing"):
        build(tmp_path / "kernels")
    assert list((tmp_path / "kernels").iterdir()) == []


def test_a_compiler_that_is_not_there_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", str(tmp_path / "nothing"))
    with pytest.raises(BuildError, match="does not run"):
        build(tmp_path / "kernels")


def test_a_machine_without_a_compiler_has_no_kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(NoCompiler, match="no C\\+\\+ compiler"):
        build(tmp_path)


@pytest.mark.parametrize("cpu", [None, "flags: sse2 fma"])
def test_a_cpu_without_avx2_has_no_kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cpu: str | None) -> None:
    monkeypatch.setattr(build_module, "cpu_identity", lambda: cpu)
    with pytest.raises(NoCompiler, match="AVX2"):
        build(tmp_path)


def test_a_folder_that_cannot_be_written_is_reported(tmp_path: Path, compiler: Compiler) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BuildError, match="cannot be written"):
        build(tmp_path / "file" / "kernels")
    assert compiler.num_runs == 0


def test_a_file_that_is_no_library_is_reported(tmp_path: Path, compiler: Compiler) -> None:
    with pytest.raises(BuildError, match="cannot be loaded"):
        open_kernels(build(tmp_path))


@pytest.mark.parametrize(("works", "level"), [(True, logging.WARNING), (False, logging.INFO)])
def test_one_line_says_why_there_are_no_kernels(
    tmp_path: Path,
    compiler: Compiler,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    works: bool,
    level: int,
) -> None:
    monkeypatch.setattr(load_module, "cache_folder", lambda: tmp_path)
    if not works:
        monkeypatch.delenv("CXX")
        monkeypatch.setenv("PATH", "")
    with caplog.at_level(logging.INFO):
        assert load_kernels() is None
        assert load_kernels() is None
    assert [record.levelno for record in caplog.records] == [level]
