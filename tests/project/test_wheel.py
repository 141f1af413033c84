"""The wheel holds all that it needs: installed without the clone, one command answers a request."""

from __future__ import annotations

import sys
import tomllib
import zipfile
from pathlib import Path

import httpx
import pytest

from support.client_environments import python_of
from support.installed import LIMIT_S, ROOT, Served, build_wheel, install, run, served
from support.tiny_model import write_tiny_gguf

VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment that has the wheel."""
    return install(wheel, tmp_path_factory.mktemp("installed") / "environment")


@pytest.fixture(scope="module")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf", layers=1, width=64, context_length=256)


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


def assert_answers(server: Served, key: str = "none") -> None:
    """A completion, a page of documentation, and the models."""
    with httpx.Client(base_url=server.root, timeout=LIMIT_S, headers={"x-api-key": key}) as client:
        body = {"model": server.model, "prompt": "Once", "max_tokens": 4, "ignore_eos": True}
        answer = client.post("/v1/completions", json=body)
        assert (answer.status_code, answer.json()["usage"]["completion_tokens"]) == (200, 4)
        assert client.get("/docs").status_code == 200
        assert client.get("/version").json()["version"] == VERSION


@pytest.mark.all
@pytest.mark.parametrize("installer", ["pip", "uv tool install", "pipx run"])
def test_an_installer_brings_all_that_it_needs(installer: str, wheel: Path, gguf: Path, tmp_path: Path) -> None:
    if installer == "pip":
        run([sys.executable, "-m", "venv", "environment"], tmp_path)
        run(["environment/bin/python", "-m", "pip", "install", "--quiet", str(wheel)], tmp_path)
        command = [str(tmp_path / "environment/bin/crossette")]
    elif installer == "uv tool install":
        folders = {"UV_TOOL_DIR": str(tmp_path / "tools"), "UV_TOOL_BIN_DIR": str(tmp_path / "programs")}
        run([str(python_of("uv").with_name("uv")), "tool", "install", "--quiet", str(wheel)], tmp_path, **folders)
        command = [str(tmp_path / "programs/crossette")]
    else:
        command = [str(python_of("pipx").with_name("pipx")), "run", "--spec", str(wheel), "crossette"]

    with served(
        [*command, "serve", str(gguf)],
        tmp_path,
        CROSSETTE_HOME=str(tmp_path / "home"),
        PIPX_HOME=str(tmp_path / "pipx"),
    ) as server:
        assert_answers(server)
