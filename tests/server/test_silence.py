"""A serving process opens no outgoing connection and resolves no name, in its own code or in dependencies.

Python's audit events report all attempts through Python, successful or not; the kernel's list of sockets shows those
of native code.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx

from crossette.engines.openvino.kernels.build import BuildError, build

LIMIT_S = 120
_LISTENING = "0A"

_HOOK = """
import os, sys

EVENTS = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "subprocess.Popen",
          "os.posix_spawn", "os.system", "os.exec", "urllib.Request")

def record(event, arguments, log=os.open(os.environ["AUDIT_LOG"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)):
    if event in EVENTS:
        os.write(log, f"{event} {arguments!r}\\n".encode())

sys.addaudithook(record)
"""


@contextmanager
def audited(folder: Path, *command: str) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A Python program, and the log of its audit events for connections and subprocesses."""
    hook, log = folder / "hook", folder / "audit.log"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(_HOOK)
    environ = os.environ | {"PYTHONPATH": str(hook), "AUDIT_LOG": str(log), "CROSSETTE_HOME": str(folder)}
    process = subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, text=True, env=environ)
    try:
        yield process, log
    finally:
        process.terminate()
        process.wait(LIMIT_S)
        if process.stdout is not None:
            process.stdout.close()


def sockets_of(pid: int) -> set[tuple[str, str]]:
    """The remote address and state of all TCP and UDP sockets of a process, in the notation of /proc/net."""
    inodes = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed since it was listed
            if found := re.fullmatch(r"socket:\[(\d+)\]", str(entry.readlink())):
                inodes.add(found[1])
    rows = [
        line.split()
        for kind in ("tcp", "tcp6", "udp", "udp6")
        for line in Path(f"/proc/{pid}/net/{kind}").read_text().splitlines()[1:]
    ]
    return {(row[2], row[3]) for row in rows if row[9] in inodes}


def test_the_hook_detects_a_connection(tmp_path: Path) -> None:
    """Otherwise the other test would prove nothing."""
    code = "import socket; s = socket.socket(); s.settimeout(1); s.connect_ex(('127.0.0.1', 9)); socket.getfqdn"
    with audited(tmp_path, "-c", code) as (process, log):
        assert process.wait(LIMIT_S) == 0

    assert log.read_text().startswith("socket.connect ")


def test_a_serving_process_opens_no_outgoing_connections(tiny_model_dir: Path, tmp_path: Path) -> None:
    model_dir = tmp_path / "tiny"
    shutil.copytree(tiny_model_dir, model_dir)
    (model_dir / "config.json").write_text(json.dumps({"max_position_embeddings": 256}))
    with suppress(BuildError):  # a first start runs the compiler
        build(tmp_path / "kernels")
    command = ("-m", "crossette", "serve", str(model_dir), "--port", "0", "--kv-cache", "32MiB")
    with audited(tmp_path, *command) as (process, log):
        assert process.stdout is not None
        banner = ""
        while not (found := re.search(r"^curl (http://\S+)/v1/chat/completions", banner, re.MULTILINE)):
            line = process.stdout.readline()
            assert line, f"the server ended before it served:\n{banner}"
            banner += line
        with httpx.Client(base_url=found[1], timeout=LIMIT_S) as client:
            (model,) = client.get("/v1/models").json()["data"]
            body = {"model": model["id"], "prompt": "Once", "max_tokens": 8}
            for streamed in (False, True):
                assert client.post("/v1/completions", json=body | {"stream": streamed}).status_code == 200
            assert client.get("/docs").status_code == 200
        sockets = sockets_of(process.pid)
        process.terminate()
        process.wait(LIMIT_S)

    assert log.read_text().splitlines() == []
    unspecified, this_machine = "00000000:0000", "0100007F:"
    assert (unspecified, _LISTENING) in sockets
    assert {peer for peer, _ in sockets if peer != unspecified and not peer.startswith(this_machine)} == set()
