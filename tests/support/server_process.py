"""The server as a process of its own, with the fake engine, and a line to it: for what a thread cannot show.

As a program it serves on a free port, and answers each line of its input with one: `census` with what is alive, any
other with the engine's load, after it has done what the line says, if anything (pause, resume or step). As a module it
starts that program.
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
"""The limit of every wait: hundreds of clients share two cores with the server."""


@dataclass(frozen=True)
class Load:
    """What the engine has to do, and how many steps it has done."""

    running: int
    waiting: int
    blocks: int
    steps: int


@dataclass(frozen=True)
class Census:
    """What is alive in the server."""

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

    def tell(self, word: str) -> Load:
        """Let the engine pause, resume, or do a step."""
        return Load(**self._ask(word))

    def census(self) -> Census:
        """Count everything that could leak: it takes a tenth of a second."""
        return Census(sockets=self._num_sockets(), **self._ask("census"))

    def _ask(self, word: str) -> dict[str, int]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()
        told: dict[str, int] = json.loads(self.process.stdout.readline())
        return told

    def _num_sockets(self) -> int:
        links = []
        for entry in Path(f"/proc/{self.process.pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # closed since it was listed
                links.append(str(entry.readlink()))
        return sum(link.startswith("socket:") for link in links)

    def wait_for(self, condition: Callable[[Load], bool]) -> Load:
        """Look until the engine's load is as wanted."""
        return _wait_for(lambda: self.tell("look"), condition)

    def wait_until_nothing_is_left(self, idle: Census) -> None:
        """Look until no more is alive than at an idle time before."""
        _wait_for(self.census, lambda found: found.is_within(idle))


def _wait_for(look: Callable[[], T], condition: Callable[[T], bool]) -> T:
    give_up = monotonic() + LIMIT_S
    while not condition(found := look()):
        assert monotonic() < give_up, f"still {found}"
        sleep(0.01)  # or looking would keep the server from getting there
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
    from crossette.server.draining import DrainingServer
    from crossette.server.listener import bind
    from crossette.testing.fake_engine import FakeEngine
    from support.api_server import parrot

    class Server(DrainingServer):
        """Tells its port when it listens, and not before."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            print(listener.getsockname()[1], flush=True)

    engine = FakeEngine(parrot, context_length=100_000, max_sequences=max_sequences)
    server = Server(App(ServedModels({"fake": engine})), engine, drain_timeout=LIMIT_S)
    listener = bind("127.0.0.1", 0)
    threading.Thread(target=_obey, args=(engine, sys.stdin), daemon=True).start()
    server.run(sockets=[listener])


def _obey(engine: FakeEngine, lines: IO[str]) -> None:
    words: dict[str, Callable[[], object]] = {"pause": engine.pause, "resume": engine.resume, "step": engine.step}
    for line in lines:
        word = line.strip()
        if word in words:
            words[word]()
        print(json.dumps(_alive(engine) if word == "census" else _load(engine)), flush=True)


def _load(engine: FakeEngine) -> dict[str, int]:
    stats = engine.stats()
    return {"running": stats.running, "waiting": stats.waiting, "blocks": _held(engine), "steps": stats.steps}


def _alive(engine: FakeEngine) -> dict[str, int]:
    from crossette.engines.stream import OutputStream

    gc.collect()
    things = gc.get_objects()
    tasks = sum(isinstance(one, asyncio.Task) and not one.done() for one in things)
    return {
        "blocks": _held(engine),
        "tasks": tasks,
        "generations": sum(isinstance(one, OutputStream) for one in things),
    }


def _held(engine: FakeEngine) -> int:
    stats = engine.stats()
    return stats.blocks_total - stats.blocks_free


if __name__ == "__main__":
    main(int(sys.argv[1]))
