"""The tools of MCP servers, as a client lists them over stdio."""

from __future__ import annotations

import json
import os
import select
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROTOCOL = "2025-06-18"
LIMIT_S = 60


def listed_tools(command: Sequence[str], environ: Mapping[str, str], folder: Path) -> list[dict[str, Any]]:
    """Start a server in a folder, and return its tools of all pages: `name`, `description`, `inputSchema`.

    Raises TimeoutError, with what the server wrote to stderr, if it does not answer.
    """
    with _started(command, environ, folder) as server:
        client = {"name": "test", "version": "1"}
        server.ask("initialize", {"protocolVersion": PROTOCOL, "capabilities": {}, "clientInfo": client})
        server.send({"jsonrpc": "2.0", "method": "notifications/initialized"})
        tools, cursor = [], None
        while True:
            page = server.ask("tools/list", {} if cursor is None else {"cursor": cursor})
            tools += page["tools"]
            cursor = page.get("nextCursor")
            if cursor is None:
                return tools


def as_functions(tools: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """MCP's tools as the `tools` of a chat completion."""
    return [
        {
            "type": "function",
            "function": {
                "name": tool["name"],
                "description": tool.get("description", ""),
                "parameters": tool["inputSchema"],
            },
        }
        for tool in tools
    ]


class _Server:
    """A process that speaks JSON-RPC, one message a line."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process = process
        self._log = log
        self._rest = b""
        self._num_sent = 0

    def ask(self, method: str, params: object) -> Any:
        """The result of a call. Requests and notifications of the server are skipped."""
        self._num_sent += 1
        self.send({"jsonrpc": "2.0", "id": self._num_sent, "method": method, "params": params})
        for message in self._messages():
            if message.get("id") == self._num_sent and "method" not in message:
                assert "result" in message, message
                return message["result"]
        raise AssertionError("unreachable")

    def send(self, message: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message).encode() + b"\n")
        self._process.stdin.flush()

    def _messages(self) -> Iterator[Any]:
        assert self._process.stdout is not None
        output, limit = self._process.stdout.fileno(), time.monotonic() + LIMIT_S
        while True:
            line, newline, rest = self._rest.partition(b"\n")
            if newline:
                self._rest = rest
                if line.strip():
                    yield json.loads(line)
                continue
            ready, _, _ = select.select([output], [], [], max(0, limit - time.monotonic()))
            data = os.read(output, 2**16) if ready else b""
            if not data:
                raise TimeoutError(f"{self._process.args!r} does not answer:\n{self._log.read_text()[-2000:]}")
            self._rest += data


@contextmanager
def _started(command: Sequence[str], environ: Mapping[str, str], folder: Path) -> Iterator[_Server]:
    log = folder / "stderr"
    with (
        log.open("wb") as errors,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env={**environ}, cwd=folder
        ) as process,
    ):
        try:
            yield _Server(process, log)
        finally:
            process.kill()
