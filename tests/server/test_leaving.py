"""A server that is about to end, for `--drain-delay` seconds: not ready, but it serves."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from support.replica_server import ReplicaServer, replica
from support.waiting import wait_until

LIMIT_S = 60
BODY = {"model": "fake", "prompt": "a", "max_tokens": 2}


@pytest.fixture
def served(tmp_path: Path) -> Iterator[ReplicaServer]:
    with replica("the-name", drain_delay=LIMIT_S, database_url=f"sqlite:///{tmp_path}/crossette.db") as running:
        yield running


def test_a_server_that_is_about_to_end_is_not_ready_but_serves_and_closes_connections(served: ReplicaServer) -> None:
    with httpx.Client(base_url=served.root, timeout=LIMIT_S, verify=False) as client:
        before = client.post("/v1/completions", json=BODY)
        served.process.send_signal(signal.SIGTERM)
        wait_until(lambda: client.get("/health/ready").status_code == 503)
        after = client.post("/v1/completions", json=BODY)
        health = client.get("/health/ready")

    assert (before.status_code, before.headers.get("connection")) == (200, None)
    assert (after.status_code, after.headers["connection"]) == (200, "close")
    assert health.json()["status"] == "draining"
    assert {answer.headers["x-crossette-replica"] for answer in (before, after, health)} == {"the-name"}
    assert served.stop() == 0  # a second signal ends the delay
