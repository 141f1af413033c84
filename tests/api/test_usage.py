"""A database that is slow to say what was used holds up nobody but those who ask for that, and not too many of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from crossette.accounts.ledger import NoLedger, UsageQuery, UsageRow
from crossette.api import usage, worker_pool
from crossette.api.worker_pool import WorkerPool
from crossette.testing.fake_engine import FakeEngine
from support.api_server import DIALECTS, LIMIT_S, ApiServer, say, serving

LONG = {"model": "fake", "prompt": "x" * 20_000 + say("Hello"), "max_tokens": 8}
"""So long that it is encoded in a thread."""


class SlowLedger(NoLedger):
    """Says nothing until it may."""

    def __init__(self) -> None:
        self.begun, self.may_end = threading.Semaphore(0), threading.Event()

    def usage(self, query: UsageQuery) -> Sequence[UsageRow]:
        self.begun.release()
        assert self.may_end.wait(LIMIT_S)
        return ()


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowLedger]:
    slow = SlowLedger()
    monkeypatch.setattr(usage, "workshop", WorkerPool("usage", 1, max_waiting=40, waits_for="to be told"))
    yield slow
    slow.may_end.set()


@pytest.fixture
def server(ledger: SlowLedger) -> Iterator[ApiServer]:
    with serving(FakeEngine(context_length=40_000), ledger=ledger) as api:
        yield api


def wait_for(num_waiting: int) -> None:
    until = time.monotonic() + LIMIT_S
    while usage.workshop._waiting != num_waiting:
        assert time.monotonic() < until
        time.sleep(0.005)


def test_a_slow_database_does_not_hold_up_the_encoding_of_long_prompts(
    server: ApiServer, ledger: SlowLedger, prefix: str
) -> None:
    """More ask for usage than there are threads that everything shares."""
    with ThreadPoolExecutor(40) as clients:
        asking = [clients.submit(server.get, f"{prefix}/usage") for _ in range(40)]
        wait_for(39)
        assert server.post(f"{prefix}/completions", LONG).status_code == 200
        ledger.may_end.set()
        assert {one.result().status_code for one in asking} == {200}


def test_whoever_finds_too_many_waiting_for_it_is_told_to_come_back(
    server: ApiServer, ledger: SlowLedger, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage, "workshop", WorkerPool("usage", 1, max_waiting=1, waits_for="to be told what was used"))
    with ThreadPoolExecutor(2) as clients:
        first = clients.submit(server.get, f"{prefix}/usage")
        assert ledger.begun.acquire(timeout=LIMIT_S)
        wait_for(0)  # the event loop hears a moment later that its turn has come
        second = clients.submit(server.get, f"{prefix}/usage")
        wait_for(1)
        refused = server.get(f"{prefix}/usage")
        ledger.may_end.set()
        assert [first.result().status_code, second.result().status_code] == [200, 200]

    error = refused.json()["error"]
    assert (refused.status_code, error["type"], error["code"]) == (503, *DIALECTS[prefix].errors["overloaded"])
    assert error["message"].startswith("1 requests wait to be told what was used, and 1 is the limit.")


def test_a_database_that_does_not_answer_is_a_503(
    server: ApiServer, ledger: SlowLedger, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_pool, "PATIENCE_S", 0.05)

    answer = server.get(f"{prefix}/usage")

    assert (answer.status_code, answer.json()["error"]["message"]) == (503, "The ledger cannot be read now.")
