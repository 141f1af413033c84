"""A server of batches in a process of its own, which a test may kill. Its fake engine notes which lines it begins."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

TESTS = Path(__file__).parents[1]
LIMIT_S = 60
LEASE_S = 1


@dataclass(frozen=True)
class BatchServer:
    root: str
    process: subprocess.Popen[str]


@contextmanager
def running(folder: Path, begun: Path, *, hold_at: int = 0) -> Iterator[BatchServer]:
    """A server with its database in `folder`. It appends the text of each line that it begins to the file `begun`.

    Its engine stops at the line with the number `hold_at`, counted from 1; 0 for none.
    """
    command = [sys.executable, "-m", "support.batch_server", str(folder), str(begun), str(hold_at)]
    path = os.pathsep.join([str(TESTS), *sys.path])
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield BatchServer(f"http://127.0.0.1:{int(process.stdout.readline())}", process)
    finally:
        process.terminate()
        process.wait(LIMIT_S)
        process.stdout.close()


def main(folder: Path, begun: Path, hold_at: int) -> None:
    from datetime import timedelta

    from crossette.api.app import App
    from crossette.api.batches import runner
    from crossette.api.models import ServedModels
    from crossette.pool.pool import ModelPool
    from crossette.server.draining import DrainingServer
    from crossette.server.listener import bind
    from crossette.testing.fake_engine import FakeEngine
    from crossette.types import GenerationRequest
    from support.api_server import parrot
    from support.file_storage import storage

    runner.LEASE = timedelta(seconds=LEASE_S)
    num_begun = 0

    def noting(request: GenerationRequest, index: int) -> bytes:
        nonlocal num_begun
        num_begun += 1
        text = parrot(request, index)
        with begun.open("ab") as log:
            log.write(text + b"\n")
        if num_begun == hold_at:
            engine.pause()
        return text

    class Server(DrainingServer):
        """Prints its port once it listens."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            print(listener.getsockname()[1], flush=True)

    engine = FakeEngine(noting, max_sequences=4)
    with storage(folder) as kept:
        server = Server(App(ServedModels(ModelPool.of({"fake": engine})), storage=kept), drain_timeout=LIMIT_S)
        listener = bind("127.0.0.1", 0)
        server.run(sockets=[listener])


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
