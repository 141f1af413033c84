"""The wheel holds all that it needs: installed without the clone, one command answers a request."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from support.client_environments import python_of
from support.installed import ROOT, VERSION, assert_answers, run, served


def test_the_wheel_has_every_file_of_the_package(wheel: Path) -> None:
    package = ROOT / "src/crossette"
    files = {str(path.relative_to(package.parent)) for path in package.rglob("*") if path.is_file()}
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}

    assert packed == {name for name in files if not name.endswith(".pyc")}
    assert {"crossette/py.typed", "crossette/api/docs/docs.html"} < packed
    assert {"crossette/accounts/database/migrations/env.py"} < packed


def test_both_commands_print_the_version(programs: Path, tmp_path: Path) -> None:
    for command in ([str(programs / "crossette")], [str(programs / "python"), "-m", "crossette"]):
        assert run([*command, "--version"], tmp_path) == f"crossette {VERSION}\n"


def test_the_installed_package_is_the_wheels(programs: Path, tmp_path: Path) -> None:
    printed = run([str(programs / "python"), "-c", "import crossette; print(crossette.__file__)"], tmp_path)

    assert Path(printed.strip()).is_relative_to(programs.parent)


@pytest.mark.model
def test_one_command_of_the_installed_package_answers(programs: Path, gguf: Path, tmp_path: Path) -> None:
    home = str(tmp_path / "home")
    url = f"sqlite:///{tmp_path}/keys.db"
    key = run([str(programs / "crossette"), "keys", "create", "ann", "--database-url", url], tmp_path).strip()

    with served(
        [str(programs / "crossette"), "serve", str(gguf), "--database-url", url], tmp_path, CROSSETTE_HOME=home
    ) as server:
        assert_answers(server, key)


@pytest.mark.all
@pytest.mark.parametrize("installer", ["uv tool install", "pipx run"])
def test_an_installer_brings_all_that_it_needs(installer: str, wheel: Path, gguf: Path, tmp_path: Path) -> None:
    """`pipx` runs `pip install` in an environment that is empty before."""
    folders = {"UV_TOOL_DIR": "tools", "UV_TOOL_BIN_DIR": "programs", "PIPX_HOME": "pipx", "CROSSETTE_HOME": "home"}
    environ = {name: str(tmp_path / folder) for name, folder in folders.items()}
    if installer == "uv tool install":
        run([str(python_of("uv").with_name("uv")), "tool", "install", "--quiet", str(wheel)], tmp_path, **environ)
        command = [str(tmp_path / "programs/crossette")]
    else:
        command = [str(python_of("pipx").with_name("pipx")), "run", "--spec", str(wheel), "crossette"]

    with served([*command, "serve", str(gguf)], tmp_path, **environ) as server:
        assert_answers(server)
