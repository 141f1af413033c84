"""Constraints that compile slowly: time in the queue does not count, and the queue is bounded."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from crossette.api.grammar_pool import GrammarPool
from crossette.errors import InvalidRequest
from crossette.testing.fake_engine import FakeEngine
from crossette.types import Constraint
from support.api_server import DIALECTS, LIMIT_S, parrot, say, serving
from support.waiting import wait_until

pytestmark = pytest.mark.slow

BODY = {"model": "fake", "prompt": say("12"), "max_tokens": 8, "guided_regex": "[0-9]{2}"}

MESSAGES = [{"role": "user", "content": "Hi"}]


class SlowEngine(FakeEngine):
    """Compiles a constraint in some seconds, or until it is released."""

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


class LimitedEngine(FakeEngine):
    """Compiles no constraint."""

    def __init__(self) -> None:
        super().__init__(parrot)

    def prepare(self, constraint: Constraint) -> None:
        raise InvalidRequest("The JSON schema is too large.", param=constraint.param)


def test_the_faults_of_all_tools_that_the_engine_finds_are_one_error(prefix: str) -> None:
    tools = [{"type": "function", "function": {"name": f"f{n}", "parameters": {"type": "object"}}} for n in range(3)]
    with serving(LimitedEngine()) as api:
        answer = api.post(f"{prefix}/chat/completions", {"model": "fake", "messages": MESSAGES, "tools": tools})

    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, "tools[0].function.parameters")
    for index in range(3):
        assert f"tools[{index}].function.parameters: The JSON schema is too large." in error["message"]


def wait_for(pool: GrammarPool, num_waiting: int) -> None:
    wait_until(lambda: pool.workers.num_waiting == num_waiting)


def test_time_in_the_queue_does_not_count_against_the_timeout(prefix: str) -> None:
    num_requests, seconds = 20, 0.2
    pool = GrammarPool(1, timeout_s=num_requests * seconds * 0.75)
    with serving(SlowEngine(seconds), grammars=pool) as api, ThreadPoolExecutor(num_requests) as clients:
        answers = list(clients.map(lambda _: api.post(f"{prefix}/completions", BODY), range(num_requests)))

    assert {answer.status_code for answer in answers} == {200}


def test_a_constraint_that_takes_too_long_to_compile_is_a_400(prefix: str) -> None:
    engine = SlowEngine()
    engine.held.clear()
    with serving(engine, grammars=GrammarPool(timeout_s=0.05)) as api:
        answer = api.post(f"{prefix}/completions", BODY)
        engine.held.set()

    assert answer.status_code == 400
    assert "Compiling the response format exceeded 0.05 s" in answer.json()["error"]["message"]


def test_a_full_queue_is_a_503_with_retry_after(prefix: str) -> None:
    pool, engine = GrammarPool(1, max_waiting=1), SlowEngine()
    engine.held.clear()
    with serving(engine, grammars=pool) as api, ThreadPoolExecutor(2) as clients:
        first = clients.submit(api.post, f"{prefix}/completions", BODY)
        assert engine.begun.acquire(timeout=LIMIT_S)
        wait_for(pool, 0)  # the event loop is notified a moment later that the thread has taken it
        second = clients.submit(api.post, f"{prefix}/completions", BODY)
        wait_for(pool, 1)
        refused = api.post(f"{prefix}/completions", BODY)
        unconstrained = api.post(f"{prefix}/completions", {"model": "fake", "prompt": say("Hello")})
        engine.held.set()
        assert [first.result().status_code, second.result().status_code] == [200, 200]
        assert api.post(f"{prefix}/completions", BODY).status_code == 200

    error = refused.json()["error"]
    assert (refused.status_code, error["type"], error["code"]) == (503, *DIALECTS[prefix].errors["overloaded"])
    assert int(refused.headers["retry-after"]) >= 1
    assert unconstrained.status_code == 200
