"""Programs in a network of their own, with loopback alone, for what listens on all addresses."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

TESTS = Path(__file__).parents[1]
_NAMESPACE = ("unshare", "--map-root-user", "--net", "--pid", "--fork", "--kill-child", "--mount-proc")
"""All processes end with the first one."""
_PROGRAM = 'ip link set lo up && exec "$@"'


def run_isolated(python: Path | str, module: str, *arguments: str, limit_s: float) -> str:
    """The last line that a module prints. Its first argument is an empty folder, then come `arguments`.

    It can import what this process can. Raises AssertionError with its output if it fails.
    """
    path = os.pathsep.join([str(TESTS.parent / "deploy"), str(TESTS), *sys.path])
    with TemporaryDirectory(dir="/tmp") as folder:  # short, as paths of sockets are
        program: Sequence[str] = (str(python), "-m", module, folder, *arguments)
        ran = subprocess.run(
            [*_NAMESPACE, "sh", "-c", _PROGRAM, "sh", *program],
            env={**os.environ, "PYTHONPATH": path, "HOME": folder},
            capture_output=True,
            text=True,
            timeout=limit_s,
        )
    assert ran.returncode == 0, f"{module} failed:\n{ran.stdout[-3000:]}{ran.stderr[-30000:]}"
    return ran.stdout.splitlines()[-1]
