"""Measure SIGKILL and SIGTERM of a server under load, with the default model."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import time
from contextlib import closing, suppress
from dataclasses import dataclass, field

import msgspec
from common import Served, database, serving
from peers.requests import JSON, completion, good, post_alone

from crossette.accounts.database.ledger_writer import BATCH_S
from crossette.client.bench.connection import Connection, ConnectionFailed
from crossette.client.bench.options import Address
from crossette.client.bench.request import RequestResult
from faults.crowd import is_complete
from faults.rows import Options, Row, median_and_worst
from faults.server import Watch, real, wait_for_exit

KILLS = 3
LOAD_S = 5.0
LAST_ROWS_S = BATCH_S
"""Seconds of rows that the ledger may lose, see docs/keys.md."""
STREAMS = 16


@dataclass
class Answered:
    """The ids of answered requests, with their times."""

    at: dict[str, float] = field(default_factory=dict)

    def since(self, moment: float) -> int:
        return sum(at >= moment for at in self.at.values())


@dataclass(frozen=True)
class Kill:
    answered: int
    lost: int
    recent: int
    """Number of requests answered in the last second."""
    is_intact: bool
    ready_s: float


def kill(options: Options) -> list[Row]:
    kills = [_kill() for _ in range(KILLS)]
    fault = f"kill -9 under load, {KILLS} times"
    lost = ", ".join(f"{one.lost} of {one.answered} ({one.recent})" for one in kills)
    return [
        Row(fault, "rows lost, of answers (of those in the last second)", lost),
        Row(fault, "ledgers without corruption", f"{sum(one.is_intact for one in kills)} of {KILLS}"),
        Row(fault, "new start to ready, s: median, worst", median_and_worst([one.ready_s for one in kills], 1)),
    ]


def _kill() -> Kill:
    with database() as url:
        environ = {"CROSSETTE_DATABASE_URL": url}
        with serving(real(), environ) as served:
            answered = Answered()
            killed_at = asyncio.run(_load_until_killed(served, answered))
        stored, is_intact = rows(url)
        with serving(real(), environ) as again:
            ready_s = time.perf_counter() - again.started_s
            good(asyncio.run(post_alone(again, completion(again, "Once", 2))))
    lost = len(answered.at.keys() - stored)
    return Kill(len(answered.at), lost, answered.since(killed_at - LAST_ROWS_S), is_intact, ready_s)


def rows(url: str) -> tuple[set[str], bool]:
    """The request ids in the ledger, and whether SQLite's integrity check passes."""
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
        is_intact = connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        found = connection.execute("SELECT request_id FROM requests WHERE status = 200").fetchall()
    return {request_id for (request_id,) in found}, is_intact


async def _load_until_killed(served: Served, answered: Answered) -> float:
    """Run short requests and one long stream, then send SIGKILL. Returns when."""
    stream = asyncio.create_task(post_alone(served, completion(served, "Once", 4000)))
    clients = [asyncio.create_task(_send_requests(served, answered, client)) for client in range(4)]
    await asyncio.sleep(LOAD_S)
    killed_at = time.perf_counter()
    os.kill(served.pid, signal.SIGKILL)
    await asyncio.gather(*clients)
    if (await stream).failure is None:
        raise SystemExit("The long stream ended before the kill.")
    return killed_at


async def _send_requests(served: Served, answered: Answered, client: int) -> None:
    """Send short requests until the server is unreachable."""
    body = msgspec.json.encode({"model": served.model, "prompt": "Once", "max_tokens": 1})
    number = 0
    with suppress(ConnectionFailed):
        while True:
            name = f"{client}-{number}"
            headers = {**JSON, "x-request-id": name}
            with closing(Connection(Address.parse(served.url), headers)) as connection:
                response = await connection.request("POST", "/completions", body)
                await response.read()
            if response.status == 200:
                answered.at[name] = time.perf_counter()
            number += 1


def stop(options: Options) -> list[Row]:
    return [
        *_stop("answers that end within the drain timeout", output_tokens=48),
        *_stop("answers that do not end, --drain-timeout 2", "--drain-timeout", "2", output_tokens=4000),
    ]


def _stop(description: str, *arguments: str, output_tokens: int) -> list[Row]:
    with (
        database() as url,
        serving(real(*arguments), {"CROSSETTE_DATABASE_URL": url}) as served,
        closing(Watch(served)) as watch,
    ):
        results, exit_s, status = asyncio.run(_stop_under_load(watch, output_tokens))
        stored, _ = rows(url)
    fault = f"SIGTERM with {STREAMS} streams: {description}"
    complete = sum(map(is_complete, results))
    failed = sum(result.failure is not None and result.failure.kind == "error frame" for result in results)
    return [
        Row(
            fault,
            "answers complete, ended by an error event, cut",
            f"{complete}, {failed}, {len(results) - complete - failed}",
        ),
        Row(fault, "their rows in the ledger", str(len(stored))),
        Row(fault, "seconds to the exit, and its status", f"{exit_s:.1f}, {status}"),
    ]


async def _stop_under_load(watch: Watch, output_tokens: int) -> tuple[list[RequestResult], float, int]:
    served = watch.served
    bodies = [completion(served, f"Story {number}:", output_tokens) for number in range(STREAMS)]
    streams = [asyncio.create_task(post_alone(served, body)) for body in bodies]
    await asyncio.to_thread(watch.wait_for, lambda stats: bool(stats["running"] == STREAMS))
    os.kill(served.pid, signal.SIGTERM)
    ended = await asyncio.to_thread(wait_for_exit, served.pid)
    return await asyncio.gather(*streams), ended.seconds, ended.status
