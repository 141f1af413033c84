"""Helpers of all benchmarks: server processes, a description of the machine, and reports in pages."""

from __future__ import annotations

import os
import platform
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx

START_LIMIT_S = 120.0
"""From the start of the process to its first response; the first start of a model converts it."""


@dataclass(frozen=True)
class Served:
    """A running server: its base URL, model and process, and its start time by `perf_counter`."""

    url: str
    model: str
    pid: int
    started_s: float

    @property
    def root(self) -> str:
        return self.url.removesuffix("/v1")

    @property
    def cpu_s(self) -> float:
        """User and system time of all its threads, in seconds."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def rss_bytes(self) -> int:
        return status_kb(self.pid, "VmRSS") * 1024


def status_kb(pid: int, name: str) -> int:
    """A figure of a process in KiB, such as VmRSS; 0 once it has ended."""
    found = re.search(rf"^{name}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return int(found[1]) if found is not None else 0


def own_kb(name: str) -> int:
    return status_kb(os.getpid(), name)


def crossette(*arguments: str) -> list[str]:
    """The command that serves a model, without the port."""
    return [sys.executable, "-m", "crossette", "serve", *arguments, "--log-level", "warning"]


def fake() -> list[str]:
    """The command that serves the fake engine, without the port."""
    return [sys.executable, str(Path(__file__).with_name("fake_server.py"))]


@contextmanager
def database() -> Iterator[str]:
    """The URL of a temporary SQLite database."""
    with TemporaryDirectory() as folder:
        yield f"sqlite:///{folder}/crossette.db"


def make_key(url: str) -> str:
    """Create a key without limits in this database with the CLI."""
    command = [sys.executable, "-m", "crossette", "keys", "create", "load"]
    environ = {**os.environ, "CROSSETTE_DATABASE_URL": url}
    return subprocess.run(command, env=environ, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


def bearer(key: str | None) -> dict[str, str]:
    """The authorization header of a key; empty without one."""
    return {"authorization": f"Bearer {key}"} if key else {}


@contextmanager
def serving(
    command: Sequence[str], environ: Mapping[str, str] | None = None, *, key: str | None = None
) -> Iterator[Served]:
    """Run a server on a free port, and stop it with SIGTERM. Yields once it lists its models to `key`."""
    port = _free_port()
    url = f"http://127.0.0.1:{port}/v1"
    started_s = time.perf_counter()
    with (
        database() as unused,  # so that no measurement writes into the user's own ledger
        subprocess.Popen(
            [*command, "--port", str(port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "CROSSETTE_DATABASE_URL": unused, **(environ or {})},
        ) as process,
    ):
        try:
            model = _model_when_ready(process, url, bearer(key))
            yield Served(url, model, process.pid, started_s)
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _model_when_ready(process: subprocess.Popen[bytes], url: str, headers: Mapping[str, str]) -> str:
    """Wait until the server lists its models; returns the first one."""
    limit = time.monotonic() + START_LIMIT_S
    with httpx.Client(timeout=START_LIMIT_S, headers=headers) as client:
        while time.monotonic() < limit:
            if process.poll() is not None:
                raise SystemExit(f"The server exited with status {process.returncode} during startup.")
            try:
                answer = client.get(f"{url}/models")
                if answer.status_code == 200:
                    return str(answer.json()["data"][0]["id"])
            except httpx.TransportError:
                pass
            time.sleep(0.01)
    raise SystemExit(f"The server did not start in {START_LIMIT_S:.0f} s.")


def machine() -> str:
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        text = info.read_text()
        names, flags = re.search(r"model name\s*: (.*)", text), re.search(r"flags\s*: (.*)", text)
        known = [flag for flag in ("amx_int8", "avx512_vnni", "avx512f", "avx2") if flags and flag in flags[1].split()]
        cpu = f"{names[1] if names else cpu} ({known[0] if known else 'no AVX2'})"
    return f"{os.cpu_count()} cores of {cpu}, {platform.system()}, Python {platform.python_version()}"


def head(command: str) -> list[str]:
    """The first lines of a report: date, machine, versions, command."""
    return [
        f"Measured {datetime.now(UTC):%Y-%m-%d} on {machine()}; crossette {version('crossette')}, "
        f"openvino {version('openvino')}.",
        f"Command: `{command}`",
    ]


def write(path: Path, marker: str, text: str) -> None:
    """Replace the report between two markers, and keep the rest of the page."""
    begin, end = f"<!-- {marker} begin -->", f"<!-- {marker} end -->"
    page = path.read_text()
    if begin not in page or end not in page:
        raise SystemExit(f"{path} has no markers {begin} and {end}.")
    head, _, rest = page.partition(begin)
    _, _, tail = rest.partition(end)
    path.write_text(f"{head}{begin}\n{text}\n{end}{tail}")
