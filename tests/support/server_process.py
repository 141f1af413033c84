"""The server in a separate process, with the fake engine and a control channel, for tests that need a process.

As a program it serves on a free port and responds to each line of its input with one line: to `census` with counts of
live objects, to others with the engine's load, after running the command (pause, resume or step). As a module it starts
that program.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from pathlib import Path
from time import monotonic, sleep
from typing import IO, TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from crossette.testing.fake_engine import FakeEngine

T = TypeVar("T")

LIMIT_S = 60
TESTS = Path(__file__).parents[1]
"""The limit of all waits: hundreds of clients share two cores with the server."""


@dataclass(frozen=True)
class Load:
    """The load of the engine and the number of its steps."""

    running: int
    waiting: int
    blocks: int
    steps: int


@dataclass(frozen=True)
class Census:
    """Counts of live objects in the server."""

    blocks: int
    tasks: int
    generations: int
    sockets: int

    def is_within(self, other: Census) -> bool:
        return all(getattr(self, field.name) <= getattr(other, field.name) for field in fields(self))


@dataclass
class ServerProcess:
    """A running server."""

    process: subprocess.Popen[str]
    address: tuple[str, int]

    def control(self, command: str) -> Load:
        """Let the engine pause, resume, or do a step."""
        return Load(**self._send(command))

    def census(self) -> Census:
        """Count everything that could leak. Takes a tenth of a second."""
        return Census(sockets=self._num_sockets(), **self._send("census"))

    def _send(self, command: str) -> dict[str, int]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        response: dict[str, int] = json.loads(self.process.stdout.readline())
        return response

    def _num_sockets(self) -> int:
        links = []
        for entry in Path(f"/proc/{self.process.pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # closed since it was listed
                links.append(str(entry.readlink()))
        return sum(link.startswith("socket:") for link in links)

    def wait_for(self, condition: Callable[[Load], bool]) -> Load:
        """Poll until the engine's load meets the condition."""
        return _wait_for(lambda: self.control("load"), condition)

    def idle_census(self) -> Census:
        """Poll until no request is left: a client may have its answer a moment before the server has ended it."""
        return _wait_for(self.census, lambda found: not found.generations and not found.blocks)

    def wait_until_nothing_is_left(self, idle: Census) -> None:
        """Poll until no more objects are alive than in an earlier idle census."""
        _wait_for(self.census, lambda found: found.is_within(idle))


def _wait_for(read: Callable[[], T], condition: Callable[[T], bool]) -> T:
    give_up = monotonic() + LIMIT_S
    while not condition(found := read()):
        assert monotonic() < give_up, f"still {found}"
        sleep(0.01)  # polling must not keep the server busy
    return found


@contextmanager
def running(*, max_sequences: int = 64) -> Iterator[ServerProcess]:
    """A server process."""
    command = [sys.executable, "-m", "support.server_process", str(max_sequences)]
    environment = {**os.environ, "PYTHONPATH": str(TESTS)}
    process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        port = int(process.stdout.readline())
        yield ServerProcess(process, ("127.0.0.1", port))
    finally:
        process.terminate()
        process.wait(LIMIT_S)
        process.stdin.close()
        process.stdout.close()


def main(max_sequences: int) -> None:
    from crossette.api.app import App
    from crossette.api.models import ServedModels
    from crossette.pool.pool import ModelPool
    from crossette.server.draining import DrainingServer
    from crossette.server.listener import bind
    from crossette.testing.fake_engine import FakeEngine
    from support.api_server import parrot

    class Server(DrainingServer):
        """Prints its port once it listens."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            print(listener.getsockname()[1], flush=True)

    engine = FakeEngine(parrot, context_length=100_000, max_sequences=max_sequences)
    server = Server(App(ServedModels(ModelPool.of({"fake": engine}))), drain_timeout=LIMIT_S)
    listener = bind("127.0.0.1", 0)
    threading.Thread(target=_run_commands, args=(engine, sys.stdin), daemon=True).start()
    server.run(sockets=[listener])


def _run_commands(engine: FakeEngine, lines: IO[str]) -> None:
    commands: dict[str, Callable[[], object]] = {"pause": engine.pause, "resume": engine.resume, "step": engine.step}
    for line in lines:
        command = line.strip()
        if command in commands:
            commands[command]()
        print(json.dumps(_alive(engine) if command == "census" else _load(engine)), flush=True)


def _load(engine: FakeEngine) -> dict[str, int]:
    stats = engine.stats()
    return {"running": stats.running, "waiting": stats.waiting, "blocks": _held(engine), "steps": stats.steps}


def _alive(engine: FakeEngine) -> dict[str, int]:
    from crossette.engines.stream import OutputStream

    gc.collect()
    objects = gc.get_objects()
    tasks = sum(isinstance(each, asyncio.Task) and not each.done() for each in objects)
    return {
        "blocks": _held(engine),
        "tasks": tasks,
        "generations": sum(isinstance(each, OutputStream) for each in objects),
    }


def _held(engine: FakeEngine) -> int:
    stats = engine.stats()
    return stats.blocks_total - stats.blocks_free


if __name__ == "__main__":
    main(int(sys.argv[1]))
