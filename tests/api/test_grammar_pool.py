"""Forms that take long: whoever waits for a thread is not blamed for it, and not too many wait."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from crossette.api import grammar_pool
from crossette.api import worker_pool as workshops
from crossette.api.worker_pool import WorkerPool
from crossette.testing.fake_engine import FakeEngine
from crossette.types import Constraint
from support.api_server import DIALECTS, LIMIT_S, parrot, say, serving

BODY = {"model": "fake", "prompt": say("12"), "max_tokens": 8, "guided_regex": "[0-9]{2}"}


class SlowEngine(FakeEngine):
    """Takes some seconds for a form, or as long as it is held."""

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__(parrot)
        self.begun = threading.Semaphore(0)
        self.held = threading.Event()
        self.held.set()
        self._seconds = seconds

    def prepare(self, constraint: Constraint) -> None:
        self.begun.release()
        assert self.held.wait(LIMIT_S)
        time.sleep(self._seconds)
        super().prepare(constraint)


@pytest.fixture
def workshop(monkeypatch: pytest.MonkeyPatch) -> Iterator[WorkerPool]:
    """One thread, for which one may wait."""
    one = WorkerPool("form", 1, max_waiting=1, waits_for="for their form")
    monkeypatch.setattr(grammar_pool, "workshop", one)
    yield one
    one._threads.shutdown()


def wait_for(workshop: WorkerPool, num_waiting: int) -> None:
    until = time.monotonic() + LIMIT_S
    while workshop._waiting != num_waiting:
        assert time.monotonic() < until
        time.sleep(0.005)


def test_the_time_that_a_form_waits_for_others_is_not_its_own(prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    num_requests, seconds = 20, 0.2
    monkeypatch.setattr(grammar_pool, "workshop", WorkerPool("form", 1, max_waiting=64, waits_for="for their form"))
    monkeypatch.setattr(workshops, "PATIENCE_S", num_requests * seconds * 0.75)
    with serving(SlowEngine(seconds)) as api, ThreadPoolExecutor(num_requests) as clients:
        answers = list(clients.map(lambda _: api.post(f"{prefix}/completions", BODY), range(num_requests)))

    assert {answer.status_code for answer in answers} == {200}


def test_a_form_that_takes_too_long_itself_is_a_400(
    prefix: str, workshop: WorkerPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workshops, "PATIENCE_S", 0.05)
    engine = SlowEngine()
    engine.held.clear()
    with serving(engine) as api:
        answer = api.post(f"{prefix}/completions", BODY)
        engine.held.set()

    assert answer.status_code == 400
    assert "Ask for a simpler one" in answer.json()["error"]["message"]


def test_whoever_finds_too_many_waiting_is_told_to_come_back(prefix: str, workshop: WorkerPool) -> None:
    engine = SlowEngine()
    engine.held.clear()
    with serving(engine) as api, ThreadPoolExecutor(2) as clients:
        first = clients.submit(api.post, f"{prefix}/completions", BODY)
        assert engine.begun.acquire(timeout=LIMIT_S)
        wait_for(workshop, 0)  # the event loop hears a moment later that its turn has come
        second = clients.submit(api.post, f"{prefix}/completions", BODY)
        wait_for(workshop, 1)
        refused = api.post(f"{prefix}/completions", BODY)
        unconstrained = api.post(f"{prefix}/completions", {"model": "fake", "prompt": say("Hello")})
        engine.held.set()
        assert [first.result().status_code, second.result().status_code] == [200, 200]
        assert api.post(f"{prefix}/completions", BODY).status_code == 200

    error = refused.json()["error"]
    assert (refused.status_code, error["type"], error["code"]) == (503, *DIALECTS[prefix].errors["overloaded"])
    assert int(refused.headers["retry-after"]) >= 1
    assert unconstrained.status_code == 200
