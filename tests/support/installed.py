"""The built wheel, installed in environments of its own, and the server that an installed command starts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

ROOT = Path(__file__).parents[2]
VERSION: str = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
LIMIT_S = 240
"""The limit of an installation, and of a server's start: both on a busy machine."""


def build_wheel(folder: Path) -> Path:
    """Build the wheel of this clone into a folder."""
    run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)], ROOT)
    (wheel,) = folder.glob("*.whl")
    return wheel


def install(wheel: Path, folder: Path) -> Path:
    """A virtual environment with the wheel and this environment's other packages; returns the folder of its programs.

    What is installed here comes after the environment's own packages, so the wheel is what is imported.
    """
    run([sys.executable, "-m", "venv", "--without-pip", str(folder)], folder.parent)
    pip = (sys.executable, "-m", "pip", "--python", str(folder / "bin/python"), "--disable-pip-version-check")
    run([*pip, "install", "--quiet", "--no-index", "--no-deps", str(wheel)], folder.parent)
    share_packages(folder)
    return folder / "bin"


def share_packages(environment: Path) -> None:
    """Let a virtual environment import this one's packages, after its own."""
    (own,) = environment.glob("lib/python*/site-packages")
    others = [entry for entry in sys.path if Path(entry).name == "site-packages"]  # not src/, where the clone is
    (own / "others.pth").write_text("\n".join(others))


def run(command: Sequence[str], cwd: Path, **environ: str) -> str:
    """Run a command outside the clone's import path, and return its output. Raises AssertionError with its errors."""
    ran = subprocess.run(
        command, cwd=cwd, env=clean(environ), capture_output=True, encoding="utf-8", timeout=LIMIT_S, check=False
    )
    assert ran.returncode == 0, f"{' '.join(command)} exited with {ran.returncode}:\n{ran.stdout}{ran.stderr}"
    return ran.stdout


def clean(more: Mapping[str, str]) -> dict[str, str]:
    """The environment without what the tests set for Python and crossette."""
    hidden = ("PYTHON", "PYTEST", "VIRTUAL_ENV", "CROSSETTE_")
    return {name: value for name, value in os.environ.items() if not name.startswith(hidden)} | dict(more)


@dataclass(frozen=True)
class Served:
    """A server that listens."""

    root: str
    model: str


@contextmanager
def served(command: Sequence[str], cwd: Path, **environ: str) -> Iterator[Served]:
    """Run a command line of `crossette serve` on a free port, until the block ends."""
    command = [*command, "--port", "0", "--kv-cache", "64MiB", "--log-format", "json"]
    with listening(subprocess.Popen(command, cwd=cwd, env=clean(environ), stderr=subprocess.PIPE, text=True)) as found:
        yield found


@contextmanager
def listening(process: subprocess.Popen[str]) -> Iterator[Served]:
    """Wait until a server listens, by the JSON log on its standard error; end it with the block."""
    assert process.stderr is not None
    try:
        lines = []
        for line in process.stderr:
            lines.append(line)
            if line.startswith("{") and (found := json.loads(line))["message"].startswith("Listening on"):
                yield Served(found["url"], found["model"])
                break
        else:
            raise AssertionError(f"the server exited before it listened:\n{''.join(lines)}")
    finally:
        process.terminate()
        process.wait(LIMIT_S)
        process.stderr.close()


def assert_answers(server: Served, key: str = "none") -> None:
    """A completion, a page of documentation, and the models."""
    with httpx.Client(base_url=server.root, timeout=LIMIT_S, headers={"x-api-key": key}) as client:
        body = {"model": server.model, "prompt": "Once", "max_tokens": 4, "ignore_eos": True}
        answer = client.post("/v1/completions", json=body)
        assert (answer.status_code, answer.json()["usage"]["completion_tokens"]) == (200, 4)
        assert client.get("/docs").status_code == 200
        assert client.get("/version").json()["version"] == VERSION
