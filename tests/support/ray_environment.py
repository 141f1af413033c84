"""The environment of Ray, which is large: made once under .venvs/, and kept until its pins change.

As a program, it makes the environment: `python -m support.ray_environment`, in the folder `tests`.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from support.created_once import creating

TESTS = Path(__file__).parents[1]
PINS = TESTS / "cluster" / "ray.txt"
LIMIT_S = 900


def ray_python() -> Path:
    """The interpreter of an environment with Ray; other packages are those of this process, by its import path.

    Raises CalledProcessError or TimeoutExpired if Ray cannot be installed.
    """
    key = hashlib.sha256((PINS.read_text() + sys.version).encode()).hexdigest()[:12]
    folder = TESTS.parent / ".venvs" / f"ray-{key}"
    python = folder / "bin" / "python"
    with creating(folder):
        if not (folder / "ready").exists():
            shutil.rmtree(folder, ignore_errors=True)
            _run(sys.executable, "-m", "venv", str(folder))
            pip = ("-m", "pip", "install", "--quiet", "--no-compile", "--disable-pip-version-check")
            _run(str(python), *pip, "--no-deps", "-r", str(PINS))  # all are pinned
            (folder / "ready").touch()
    return python


def _run(*command: str) -> None:
    subprocess.run(command, check=True, timeout=LIMIT_S)


if __name__ == "__main__":
    ray_python()
