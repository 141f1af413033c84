"""A wall clock that jumps, as after a suspend or a correction, affects neither waits nor limits."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from crossette.accounts.access import Caller, Limits
from crossette.accounts.ledger import Entry, NoLedger
from crossette.testing.fake_engine import FakeEngine
from support.api_server import events, has, say, serving

pytestmark = pytest.mark.slow

DAY_S = 86_400.0


class Noted(NoLedger):
    """A ledger that keeps its entries."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def note(self, entry: Entry) -> None:
        self.entries.append(entry)


@pytest.fixture
def jump(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Set the wall clock forward or back, by a number of seconds."""
    real, shifts = time.time, [0.0]
    monkeypatch.setattr(time, "time", lambda: real() + sum(shifts))
    return shifts.append


@pytest.mark.parametrize("seconds", [-DAY_S, 30 * DAY_S])
def test_a_clock_jump_during_a_request_does_not_affect_its_answer_or_times(
    prefix: str, jump: Callable[[float], None], seconds: float
) -> None:
    ledger, engine = Noted(), FakeEngine(lambda request, index: b"Hello")
    engine.pause()
    body = {"model": "fake", "prompt": "x", "stream": True}
    with serving(engine, ledger=ledger) as api:
        with api.http.stream("POST", api.url(f"{prefix}/completions"), json=body) as answer:
            engine.wait_for(has(waiting=1))
            jump(seconds)
            engine.resume()
            frames = events(b"".join(answer.iter_bytes()))
        api.observed.wait_for(1)

    assert "".join(choice["text"] for frame in frames for choice in frame["choices"]) == "Hello"
    (entry,) = ledger.entries
    assert entry.first_token_s is not None
    assert 0 <= entry.first_token_s <= entry.total_s < 3600


@pytest.mark.parametrize("seconds", [-DAY_S, 30 * DAY_S])
def test_a_clock_jump_does_not_change_token_buckets(prefix: str, jump: Callable[[float], None], seconds: float) -> None:
    callers = {"key": Caller("k", "k", limits=Limits(requests_per_minute=2))}
    with serving(callers=callers) as api:

        def status() -> int:
            body = {"model": "fake", "prompt": say("Hi")}
            return api.post(f"{prefix}/completions", body, {"authorization": "Bearer key"}).status_code

        statuses = [status()]
        jump(seconds)
        statuses += [status(), status()]

    assert statuses == [200, 200, 429]
