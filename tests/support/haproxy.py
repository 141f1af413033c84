"""HAProxy with the configuration of deploy/haproxy, before replicas of a test."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from support.waiting import wait_until

CONFIG = Path(__file__).parents[2] / "deploy/haproxy/haproxy.cfg"
LIMIT_S = 60


def program() -> str:
    """The program: Debian does not put it on every user's path."""
    found = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
    assert found is not None, "HAProxy is not installed: scripts/test --all does that"
    return found


def config(port: int, ports: Sequence[int], *, random: bool = False) -> str:
    """The configuration, with these addresses in place of its own; with `random`, without affinity."""
    text, num_binds = re.subn(r"^    bind :8000$", f"    bind 127.0.0.1:{port}", CONFIG.read_text(), flags=re.M)
    head, num_servers = re.subn(r"^    server \S+ 10\.0\.0\.\d+:8000\n", "", text, flags=re.M)
    assert (num_binds, num_servers) == (1, 2)
    servers = [f"    server replica-{index + 1} 127.0.0.1:{each}\n" for index, each in enumerate(ports)]
    made = head + "".join(servers)
    if random:
        made, num_balances = re.subn(r"^    balance hash .*$", "    balance random", made, flags=re.M)
        made = re.sub(r"^    hash-.*\n", "", made, flags=re.M)
        assert num_balances == 1
    return made


@dataclass(frozen=True)
class Proxy:
    """A running proxy."""

    root: str
    pid: int


@contextmanager
def haproxy(folder: Path, ports: Sequence[int], *, random: bool = False) -> Iterator[Proxy]:
    """A proxy before these ports, once it answers."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    file = folder / f"haproxy-{port}.cfg"
    file.write_text(config(port, ports, random=random))
    with (folder / "haproxy.log").open("a") as log:
        process = subprocess.Popen([program(), "-f", str(file), "-db"], stdout=log, stderr=log)
    root = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: _answers(root, process))
        yield Proxy(root, process.pid)
    finally:
        process.terminate()
        process.wait(LIMIT_S)


def _answers(root: str, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, "HAProxy has ended"
    try:
        return httpx.get(f"{root}/health/ready", timeout=LIMIT_S).status_code == 200
    except httpx.TransportError:
        return False
