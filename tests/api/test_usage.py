"""GET /usage with a slow database: it delays no other requests, and its queue is bounded."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from crossette.accounts.ledger import NoLedger, UsageQuery, UsageRow
from crossette.api.usage import UsageReader
from crossette.testing.fake_engine import FakeEngine
from support.api_server import DIALECTS, LIMIT_S, ApiServer, say, serving
from support.waiting import wait_until

LONG = {"model": "fake", "prompt": "x" * 20_000 + say("Hello"), "max_tokens": 8}
"""Long enough to be encoded in a thread."""


class SlowLedger(NoLedger):
    """Returns nothing until it is released."""

    def __init__(self) -> None:
        self.begun, self.may_end = threading.Semaphore(0), threading.Event()

    def usage(self, query: UsageQuery) -> Sequence[UsageRow]:
        self.begun.release()
        assert self.may_end.wait(LIMIT_S)
        return ()


@pytest.fixture
def ledger() -> Iterator[SlowLedger]:
    slow = SlowLedger()
    yield slow
    slow.may_end.set()


@contextmanager
def reading(ledger: SlowLedger, *, max_waiting: int = 40, timeout_s: float = LIMIT_S) -> Iterator[ApiServer]:
    """A server with one thread for usage reports."""
    reader = UsageReader(ledger, 1, max_waiting=max_waiting, timeout_s=timeout_s)
    with serving(FakeEngine(context_length=40_000), ledger=ledger, usage=reader) as api:
        yield api


def wait_for(api: ApiServer, num_waiting: int) -> None:
    wait_until(lambda: api.app.services.usage.workers.num_waiting == num_waiting)


@pytest.mark.slow
def test_a_slow_database_does_not_delay_the_encoding_of_long_prompts(ledger: SlowLedger, prefix: str) -> None:
    """With more usage requests than shared threads."""
    with reading(ledger) as server, ThreadPoolExecutor(40) as clients:
        asking = [clients.submit(server.get, f"{prefix}/usage") for _ in range(40)]
        wait_for(server, 39)
        assert server.post(f"{prefix}/completions", LONG).status_code == 200
        ledger.may_end.set()
        assert {one.result().status_code for one in asking} == {200}


def test_a_full_queue_is_a_503(ledger: SlowLedger, prefix: str) -> None:
    with reading(ledger, max_waiting=1) as server, ThreadPoolExecutor(2) as clients:
        first = clients.submit(server.get, f"{prefix}/usage")
        assert ledger.begun.acquire(timeout=LIMIT_S)
        wait_for(server, 0)  # the event loop is notified a moment later that the thread has taken it
        second = clients.submit(server.get, f"{prefix}/usage")
        wait_for(server, 1)
        refused = server.get(f"{prefix}/usage")
        ledger.may_end.set()
        assert [first.result().status_code, second.result().status_code] == [200, 200]

    error = refused.json()["error"]
    assert (refused.status_code, error["type"], error["code"]) == (503, *DIALECTS[prefix].errors["overloaded"])
    assert error["message"].startswith("1 requests wait for a usage report; the limit is 1.")


@pytest.mark.slow
def test_a_database_that_does_not_respond_is_a_503(ledger: SlowLedger, prefix: str) -> None:
    with reading(ledger, timeout_s=0.05) as server:
        answer = server.get(f"{prefix}/usage")
        ledger.may_end.set()

    assert (answer.status_code, answer.json()["error"]["message"]) == (503, "The ledger cannot be read now.")
