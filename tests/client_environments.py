"""Environments of other programs: made once under .venvs/, and kept until their pins change."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

SCRIPTS = Path(__file__).parent / "clients"
FOLDER = SCRIPTS.parent.parent / ".venvs"
PINS: dict[str, dict[str, str]] = tomllib.loads((SCRIPTS / "versions.toml").read_text(encoding="utf-8"))

INSTALL_LIMIT_S = 280
RUN_LIMIT_S = 60


def run_client(name: str, *arguments: str) -> Any:  # Any: JSON
    """Run `<name>_script` with the client it is for, and return what it prints. Fails where it cannot be installed."""
    if name in PINS["python"]:
        python = _python_environment(name)
        ran = _run([str(python), str(SCRIPTS / f"{name}_script.py"), *arguments], RUN_LIMIT_S)
    else:
        modules = _npm_environment(name)
        script = SCRIPTS / f"{name}_script.cjs"
        ran = _run(["node", str(script), *arguments], RUN_LIMIT_S, NODE_PATH=str(modules))
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def _python_environment(name: str) -> Path:
    """The interpreter of a virtual environment that has the client."""
    pin = PINS["python"][name]
    folder = _folder(name, pin, sys.version)
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        shutil.rmtree(folder, ignore_errors=True)
        _install([sys.executable, "-m", "venv", str(folder)], pin)
        _install([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", pin], pin)
        (folder / "ready").touch()
    return python


def _npm_environment(name: str) -> Path:
    """The `node_modules` that has the client."""
    pin = PINS["npm"][name]
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.fail("This test needs Node.js and npm. Run scripts/test --all, or: apt-get install nodejs npm")
    folder = _folder(name, pin)
    if not (folder / "ready").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        _install(["npm", "install", "--prefix", str(folder), "--no-audit", "--no-fund", "--loglevel=error", pin], pin)
        (folder / "ready").touch()
    return folder / "node_modules"


def _folder(name: str, *key: str) -> Path:
    return FOLDER / f"{name}-{hashlib.sha256(repr(key).encode()).hexdigest()[:12]}"


def _install(command: Sequence[str], pin: str) -> None:
    ran = _run(command, INSTALL_LIMIT_S)
    if ran.returncode != 0:
        lines = (ran.stderr or ran.stdout).strip().splitlines() or ["it said nothing"]
        pytest.fail(f"{pin} cannot be installed: {lines[-1]}")


def _run(command: Sequence[str], limit_s: float, **environ: str) -> subprocess.CompletedProcess[str]:
    # Not in the environment of the tests: what is set for them would hide what a user has to set.
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("OPENAI_", "PYTEST", "PYTHON"))}
    return subprocess.run(command, capture_output=True, text=True, timeout=limit_s, env=clean | environ)
