"""Count what the server does for a request of a stream: the calls of Python code, and the files that they enter.

    scripts/bench-front --calls

The real app and server with the fake engine, in a thread of this process. Counts do not depend on the machine's speed.
Calls of one request are those of a stream of 16 tokens less the tokens; of a token, the difference to 272 tokens.
"""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any

import msgspec
from fake_server import make_app
from guarded import guarded_database

import crossette
from crossette.accounts.open import open_accounts
from crossette.accounts.settings import AccountSettings
from crossette.server.draining import DrainingServer
from crossette.server.listener import bind

LENGTHS = (16, 272)
REPEATS = 7
_OWN = str(Path(crossette.__file__).parent)


@dataclass
class Calls:
    """The calls of the server's thread while `is_on`: of Python functions, and of those written in C."""

    is_on: bool = False
    num_c: int = 0
    functions: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By file and name. A coroutine that goes on counts again."""

    def profile(self, frame: FrameType, event: str, _: Any) -> None:
        if not self.is_on:
            return
        if event == "call":
            self.functions[frame.f_code.co_filename, frame.f_code.co_qualname] += 1
        elif event == "c_call":
            self.num_c += 1

    @property
    def num_python(self) -> int:
        return self.functions.total()

    def files(self) -> tuple[int, int]:
        """The files entered: of crossette, and all."""
        names = {name for name, _ in self.functions}
        return sum(name.startswith(_OWN) for name in names), len(names)


@contextmanager
def counted_server(*, guards: bool) -> Iterator[tuple[int, str | None, Calls]]:
    """Run the server in a thread. Yields its port, the key that it needs, and its calls."""
    calls, key, store = Calls(), None, None
    with ExitStack() as stack:
        if guards:
            folder = stack.enter_context(TemporaryDirectory())
            url, key = guarded_database(folder)
            store = stack.enter_context(open_accounts(AccountSettings(url)))
        listener = bind("127.0.0.1", 0)
        server = DrainingServer(make_app(store, is_plain=not guards), drain_timeout=1)
        threading.setprofile(calls.profile)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        threading.setprofile(None)
        try:
            yield listener.getsockname()[1], key, calls
        finally:
            server.should_exit = True
            thread.join()


def stream(connection: socket.socket, num_tokens: int, key: str | None) -> None:
    """One streamed answer, read to its end."""
    body = msgspec.json.encode(
        {
            "model": "fake",
            "prompt": "x" * 96,
            "max_tokens": num_tokens,
            "temperature": 0,
            "ignore_eos": True,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    )
    head = f"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n"
    head += f"authorization: Bearer {key}\r\n" if key else ""
    connection.sendall(f"{head}content-type: application/json\r\n\r\n".encode() + body)
    answer = b""
    while not answer.endswith(b"\r\n0\r\n\r\n"):
        answer += connection.recv(65536)
    if not answer.startswith(b"HTTP/1.1 200 "):
        raise SystemExit(answer.decode())


def count(connection: socket.socket, num_tokens: int, key: str | None, calls: Calls) -> Calls:
    """The calls of the cheapest of several answers: the server's clock ticks in some of them."""
    results = []
    for _ in range(REPEATS):
        calls.functions, calls.num_c, calls.is_on = Counter(), 0, True
        stream(connection, num_tokens, key)
        time.sleep(0.02)  # what follows the last byte
        calls.is_on = False
        results.append(Calls(False, calls.num_c, calls.functions))
    return min(results, key=lambda one: one.num_python)


def measure(*, guards: bool) -> tuple[Calls, Calls]:
    with counted_server(guards=guards) as (port, key, calls):
        time.sleep(0.5)
        with socket.create_connection(("127.0.0.1", port)) as connection:
            stream(connection, 1, key)
            short, long = (count(connection, length, key, calls) for length in LENGTHS)
    return short, long


def report() -> str:
    """The counts without and with guards, as a table."""
    lines = [
        "| | files of crossette, all | Python calls of a request | C calls | Python calls of a token | C calls |",
        "|---|---|---|---|---|---|",
    ]
    for name, guards in (("without guards", False), ("with guards", True)):
        short, long = measure(guards=guards)
        per_token = [(b - a) / (LENGTHS[1] - LENGTHS[0]) for a, b in zip(_sums(short), _sums(long), strict=True)]
        own = [total - LENGTHS[0] * each for total, each in zip(_sums(short), per_token, strict=True)]
        files = ", ".join(map(str, short.files()))
        lines.append(f"| {name} | {files} | {own[0]:.0f} | {own[1]:.0f} | {per_token[0]:.1f} | {per_token[1]:.1f} |")
    return "\n".join(lines)


def _sums(calls: Calls) -> tuple[int, int]:
    return calls.num_python, calls.num_c
