"""Observe a server: its health page, its process, and its exit status."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from common import Served, crossette

from crossette.models.catalogue import DEFAULT

LIMIT_S = 300.0
"""Limit of every wait, in seconds: what takes longer has failed."""

Body = dict[str, Any]  # Any: JSON


def real(*arguments: str) -> list[str]:
    """The command that serves the default model."""
    return crossette(DEFAULT.name, "--kv-cache", "256MiB", *arguments)


class Watch:
    """Polls a server over its own connection."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self._client = httpx.Client(base_url=served.root, timeout=LIMIT_S)

    def health(self) -> Body:
        health: Body = self._client.get("/health/ready").json()
        return health

    def stats(self) -> Body:
        """The engine's stats."""
        stats: Body = self.health()["models"][0]["stats"]
        return stats

    def ledger(self) -> dict[str, float]:
        ledger: dict[str, float] = self.health()["ledger"]
        return ledger

    def wait_for(self, condition: Callable[[Body], bool], read: Callable[[], Body] | None = None) -> Body:
        """Poll `read`, by default the engine's stats, until `condition` holds."""
        limit = time.monotonic() + LIMIT_S
        while not condition(found := (read or self.stats)()):
            if time.monotonic() > limit:
                raise SystemExit(f"The condition is not met after {LIMIT_S:.0f} s: {found}")
            time.sleep(0.001)
        return found

    def num_sockets(self) -> int:
        links = []
        for entry in Path(f"/proc/{self.served.pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # closed since it was listed
                links.append(str(entry.readlink()))
        return sum(link.startswith("socket:") for link in links)

    def close(self) -> None:
        self._client.close()


@dataclass(frozen=True)
class Exit:
    status: int
    seconds: float


def wait_for_exit(pid: int) -> Exit:
    """Wait for a child process without reaping it; returns its status and the time it took."""
    begun = time.perf_counter()
    while (ended := os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)) is None:
        if time.perf_counter() - begun > LIMIT_S:
            raise SystemExit(f"The server did not end in {LIMIT_S:.0f} s.")
        time.sleep(0.005)
    return Exit(ended.si_status, time.perf_counter() - begun)


def begin(served: Served, path: str, body: Body, *, receive_buffer: int | None = None) -> socket.socket:
    """Send a request on a new connection and read nothing: closing the connection is a disconnect."""
    host, _, port = served.root.removeprefix("http://").partition(":")
    connection = socket.socket()
    if receive_buffer is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    connection.settimeout(LIMIT_S)
    connection.connect((host, int(port)))
    content = json.dumps(body).encode()
    head = f"POST /v1/{path} HTTP/1.1\r\nhost: {host}\r\ncontent-length: {len(content)}\r\n\r\n"
    connection.sendall(head.encode() + content)
    return connection
