"""Replicas on Ray Serve under load. As a program: `python -m support.ray_trial FOLDER`, in a network namespace.

It deploys deploy/ray_app.py with the fake engine, and prints what clients saw as JSON, before it ends without ending
Ray: that is for who made the namespace.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx

from crossette.api.app import App
from crossette.api.models import ServedModels
from crossette.pool.pool import ModelPool
from crossette.server.hosted import open_app
from crossette.server.settings import Settings, load_settings
from support.api_server import parrot
from support.replica_server import PacedEngine
from support.stream_load import TEXT, Seen, stream_load, until

PORT = 8000
ROOT = f"http://127.0.0.1:{PORT}"
ARGUMENTS = ("--replicas", "2", "2", "--cpus", "0.2")
HALF = b"GET /v1/models HTTP/1.1\r\nhost: a\r\nx"
HEADS = (60_000, 66_000)
"""Bytes of a head within and above the limit."""


@contextmanager
def fake_app(settings: Settings) -> Iterator[App]:
    """The application with a fake engine, in the process of a replica: its name is the process's id."""
    engine = PacedEngine(parrot)
    engine.pace_s = 0.01
    named = replace(settings, server=replace(settings.server, replica_name=str(os.getpid())))
    with open_app(named, lambda _: ServedModels(ModelPool.of({engine.info.name: engine}))) as app:
        yield app


def environment(folder: Path) -> dict[str, str]:
    """Settings of the server, and what keeps Ray in the folder."""
    files = {"CONFIG_FILE_LOC": "h.cfg", "SOCKET_PATH": "a", "SERVER_STATE_FILE": "s", "METRICS_SOCKET_PATH": "m"}
    return {
        "CROSSETTE_HOST": "0.0.0.0",
        "CROSSETTE_PORT": str(PORT),
        "CROSSETTE_ALLOW_ANONYMOUS": "true",
        "CROSSETTE_DATABASE_URL": f"sqlite:///{folder}/crossette.db",
        "CROSSETTE_DRAIN_DELAY": "2",
        "CROSSETTE_DRAIN_TIMEOUT": "30",
        "CROSSETTE_LOG_LEVEL": "warning",
        "RAY_raylet_start_wait_time_s": "120",
        "RAY_SERVE_HAPROXY_STARTUP_TIMEOUT_S": "120",
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        **{f"RAY_SERVE_HAPROXY_{name}": str(folder / file) for name, file in files.items()},
    }


async def trial(settings: Settings) -> dict[str, Any]:
    return {
        "heads": {size: await _status(_head(size)) for size in HEADS},
        "slow heads": await asyncio.gather(_status(HALF), _status(HALF, drip=True)),
        "ids": await _ids(),
        "redeploy": await _redeployed(settings),
        "kill": await _killed(),
    }


async def _redeployed(settings: Settings) -> dict[str, Any]:
    """Replace both replicas, one after the other, under load."""
    old: set[str] = set()

    async def during(seen: Seen) -> None:
        await until(seen, lambda seen: len(seen.complete) == 2 and min(seen.complete.values()) >= 8)
        old.update(seen.complete)
        await asyncio.to_thread(deploy, settings)
        for _ in range(2):  # both are new, and serve
            await until(
                seen, lambda seen: sum(count >= 8 for name, count in seen.complete.items() if name not in old) == 2
            )

    seen = await stream_load(ROOT, during)
    return {**_counts(seen), "new": len(seen.complete.keys() - old)}


async def _killed() -> dict[str, Any]:
    """SIGKILL the process of a replica under load."""
    killed: list[str] = []

    async def during(seen: Seen) -> None:
        await until(seen, lambda seen: len(seen.complete) == 2 and min(seen.complete.values()) >= 8)
        await asyncio.sleep(0.3)  # the streams run in step: in the middle of them
        killed.append(min(seen.complete))
        before = sum(seen.complete.values())
        os.kill(int(killed[0]), signal.SIGKILL)
        await until(seen, lambda seen: sum(seen.complete.values()) >= before + 48)

    seen = await stream_load(ROOT, during)
    return {**_counts(seen), "killed": killed[0]}


def _counts(seen: Seen) -> dict[str, Any]:
    return {"complete": seen.complete, "cut": seen.cut, "lost": seen.lost, "whole": seen.bodies == {TEXT}}


async def _ids() -> dict[str, list[str]]:
    """The request ids of answers to requests with and without one."""
    async with httpx.AsyncClient(base_url=ROOT) as client:
        given = await client.get("/v1/models", headers={"x-request-id": "one.1"})
        made = await client.get("/v1/nothing")
    return {
        "given": given.headers.get_list("x-request-id"),
        "made": [*made.headers.get_list("x-request-id"), made.json()["request_id"]],
    }


def _head(size: int) -> bytes:
    head = b"GET /v1/models HTTP/1.1\r\nhost: a\r\nx: "
    return head + b"x" * (size - len(head) - 4) + b"\r\n\r\n"


async def _status(head: bytes, *, drip: bool = False) -> int:
    """The status of the answer to these bytes; with `drip`, one more follows each second."""
    reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
    writer.write(head)
    answer = asyncio.create_task(reader.readline())
    async with asyncio.timeout(60):
        while not (await asyncio.wait({answer}, timeout=1))[0]:
            if drip:
                writer.write(b"x")
    writer.close()
    return int(answer.result().split()[1])


def deploy(settings: Settings) -> None:
    import ray_app
    from ray import serve

    serve.run(ray_app.application(settings, ray_app.parsed(ARGUMENTS), fake_app))


def main(folder: Path) -> None:
    os.environ.update(environment(folder))
    import ray_app

    settings = load_settings({}, os.environ)
    options = {"num_cpus": 2, "object_store_memory": 100_000_000, "_temp_dir": str(folder), "log_to_driver": False}
    ray_app.run(settings, ray_app.parsed(ARGUMENTS), fake_app, **options)
    print(json.dumps(asyncio.run(trial(settings))), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
