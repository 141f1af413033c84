"""Environments of client programs: created once under .venvs/, and kept until their pins change."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from support.created_once import creating

SCRIPTS = Path(__file__).parents[1] / "clients"
FOLDER = SCRIPTS.parent.parent / ".venvs"
PINS = tomllib.loads((SCRIPTS / "versions.toml").read_text(encoding="utf-8"))

INSTALL_LIMIT_S = 280
RUN_LIMIT_S = 200

TYPESCRIPT = (
    *("--noEmit", "--strict", "--skipLibCheck", "--allowImportingTsExtensions", "--erasableSyntaxOnly"),
    *("--module", "nodenext", "--target", "es2024", "--types", "node"),
)


def run_client(name: str, script: str, *arguments: str) -> Any:  # Any: JSON
    """Run a script of tests/clients in a client's environment, and return what it prints. curl is the installed one.

    Fails if the environment cannot be created, or the script ends with an error.
    """
    if name == "curl":
        if shutil.which("curl") is None:
            pytest.fail("This test needs curl: apt-get install curl")
        return _printed([sys.executable, str(SCRIPTS / script), *arguments])
    if name in PINS["python"]:
        return _printed([str(python_of(name)), str(SCRIPTS / script), *arguments])
    return _printed([str(node()), str(_beside_modules(name, script)), *arguments])


def output_of(command: Sequence[str]) -> str:
    """What a command prints, without the variables that would hide what a user has to set."""
    ran = _run(command, RUN_LIMIT_S)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def typecheck(name: str, script: str) -> str:
    """The errors of the TypeScript compiler for a script; "" if there are none."""
    compiler = npm_folder(name) / "node_modules/typescript/bin/tsc"
    command = [str(node()), str(compiler), *TYPESCRIPT, str(_beside_modules(name, script))]
    ran = _run(command, RUN_LIMIT_S, folder=npm_folder(name))
    return ran.stdout + ran.stderr


def python_of(name: str) -> Path:
    """The interpreter of a virtual environment that has the client."""
    pins = PINS["python"][name]
    constraints = [f"{package}=={version}" for package, version in _pinned_python(name).items()]
    folder = _folder(name, pins, constraints, sys.version)
    python = folder / "bin" / "python"
    with creating(folder):
        if not (folder / "ready").exists():
            _create_python(folder, pins, constraints)
    return python


def _create_python(folder: Path, pins: Sequence[str], constraints: Sequence[str]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    _install([sys.executable, "-m", "venv", str(folder)], pins)
    file = folder / "constraints.txt"
    file.write_text("\n".join(constraints))
    python = str(folder / "bin" / "python")
    pip = [python, "-m", "pip", "install", "--quiet", "--no-compile", "--disable-pip-version-check"]
    alone = [pin for pin in pins if pin.split("==")[0] in PINS["alone"]]
    _install([*pip, "--constraint", str(file), *(pin for pin in pins if pin not in alone)], pins)
    if alone:
        _install([*pip, "--no-deps", *alone], pins)
    (folder / "ready").touch()


def npm_folder(name: str) -> Path:
    """A folder whose `node_modules` has the client."""
    is_dated = name not in PINS["npm"]
    pins = PINS["npm_of_a_day" if is_dated else "npm"][name]
    if shutil.which("npm") is None:
        pytest.fail("This test needs npm. Run scripts/test --all, or: apt-get install nodejs npm")
    package = {"private": True, "type": "module", "dependencies": dict(pin.rsplit("@", 1) for pin in pins)}
    versions = ["--before", PINS["npm_of_a_day"]["day"]] if is_dated else []
    if not is_dated:
        package["overrides"] = PINS["brought"]["npm"]
    folder = _folder(name, package, *versions)
    with creating(folder):
        if not (folder / "ready").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            (folder / "package.json").write_text(json.dumps(package))
            quiet = ["--no-audit", "--no-fund", "--loglevel=error"]
            _install(["npm", "install", "--prefix", str(folder), *versions, *quiet], pins)
            (folder / "ready").touch()
    return folder


def node() -> Path:
    return npm_folder("node") / "node_modules/node/bin/node"


def unpinned(name: str) -> set[str]:
    """The packages of an environment whose versions are not pinned."""
    return _unpinned_python(name) if name in PINS["python"] else _unpinned_npm(name)


def _unpinned_python(name: str) -> set[str]:
    pip = [str(python_of(name)), "-m", "pip", "--disable-pip-version-check"]
    listed = _printed([*pip, "list", "--format=json", "--exclude=pip", "--exclude=setuptools"])
    pinned = _pinned_python(name)
    return {item["name"] for item in listed if pinned.get(_normal(item["name"])) != item["version"]}


def _normal(package: str) -> str:
    return re.sub("[-_.]+", "-", package).lower()


def _pinned_python(name: str) -> dict[str, str]:
    """The pinned versions of an environment; its own pins override the shared ones."""
    pinned: dict[str, str] = PINS["brought"]["python"] | dict(pin.split("==") for pin in PINS["python"][name])
    return pinned


def _unpinned_npm(name: str) -> set[str]:
    lock = json.loads((npm_folder(name) / "package-lock.json").read_text())["packages"]
    pinned = set(PINS["brought"]["npm"].items())
    for package in lock.values():  # an exact requirement of a package pins its dependency too
        pinned.update((package.get("dependencies", {}) | package.get("optionalDependencies", {})).items())
    versions = {(path.rpartition("node_modules/")[2], package.get("version")) for path, package in lock.items() if path}
    return {name for name, version in versions if (name, version) not in pinned}


def _beside_modules(name: str, script: str) -> Path:
    """Copy a script and its imports next to `node_modules`, where Node and its compiler find the client."""
    for shared in SCRIPTS.glob("*.ts"):
        shutil.copy(shared, npm_folder(name))
    return npm_folder(name) / script


def _folder(name: str, *key: object) -> Path:
    return FOLDER / f"{name}-{hashlib.sha256(repr(key).encode()).hexdigest()[:12]}"


def _install(command: Sequence[str], pins: Sequence[str]) -> None:
    ran = _run(command, INSTALL_LIMIT_S)
    if ran.returncode != 0:
        last_lines = (ran.stderr or ran.stdout).strip().splitlines()[-5:] or ["it printed nothing"]
        pytest.fail("\n".join([f"{' '.join(pins)} cannot be installed:", *last_lines]))


def _printed(command: Sequence[str]) -> Any:  # Any: JSON
    return json.loads(output_of(command))


def _run(command: Sequence[str], limit_s: float, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    # Variables of the tests are removed, as they would hide what a user has to set.
    hidden = ("OPENAI_", "FIREWORKS_", "LANGCHAIN_", "LANGSMITH_", "PYTEST", "PYTHON")
    clean = {key: value for key, value in os.environ.items() if not key.startswith(hidden)}
    return subprocess.run(command, capture_output=True, encoding="utf-8", timeout=limit_s, env=clean, cwd=folder)
