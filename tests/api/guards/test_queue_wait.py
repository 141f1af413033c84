"""Limits of the queue by estimated wait and by number, with an accurate `retry-after`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from crossette.accounts.access import Caller, Limits
from crossette.api.guards.admission import AdmissionController
from crossette.api.guards.queue_wait import QueueSettings, RetrySchedule, check_queue
from crossette.engine import Speeds, WaitEstimate
from crossette.errors import Overloaded
from crossette.testing.fake_engine import FakeEngine
from support.api_server import DIALECTS, ApiServer, has, parrot, say, serving

SPEEDS = Speeds(answer_tokens_per_s=50, mean_output_tokens=200)
"""An answer takes four seconds, so a batch of one admits a request every four seconds."""

BODY = {"model": "fake", "prompt": say("x" * 500), "max_tokens": 1000, "stream": True}


def check(wait: WaitEstimate, retries: RetrySchedule | None = None, now: float = 1000, **bounds: Any) -> None:
    check_queue(wait, QueueSettings(**bounds), retries or RetrySchedule(), now)


def queued(waiting: int) -> WaitEstimate:
    """An estimate with this many waiting sequences, of which one starts every four seconds."""
    return WaitEstimate(waiting, has_slot=False, seconds=4.0 * (waiting + 1), slot_s=4)


# --- the decision ---


def test_a_request_that_can_start_at_once_is_admitted_whatever_the_estimate() -> None:
    check(WaitEstimate(waiting=1000, has_slot=True, seconds=1e9, slot_s=1e9), max_wait=0, max_waiting=0)


def test_without_measurements_no_request_is_rejected() -> None:
    check(WaitEstimate(waiting=400, has_slot=False))


def test_retry_after_is_the_excess_over_the_limit() -> None:
    with pytest.raises(Overloaded, match=r"The estimated wait is 100 s, and the limit is 60 s") as refused:
        check(queued(24), max_wait=60)

    assert refused.value.retry_after == 40
    check(queued(14), max_wait=60)  # the number left after 40 s


def test_the_number_of_waiting_sequences_is_limited() -> None:
    with pytest.raises(Overloaded, match="12 sequences are waiting, and the limit is 10") as refused:
        check(queued(12), max_waiting=10)

    assert refused.value.retry_after == 12
    check(queued(9), max_waiting=10)


def test_retry_after_times_are_spread() -> None:
    retries, times = RetrySchedule(), []
    for now in (1000, 1000, 1001, 1001, 2000):
        with pytest.raises(Overloaded) as refused:
            check(queued(24), retries, now, max_wait=60)
        times.append(now + refused.value.retry_after)

    assert times == [1040, 1044, 1048, 1052, 2040]


def test_clients_that_ignore_retry_after_do_not_delay_others_for_ever() -> None:
    retries = RetrySchedule()
    for _ in range(1000):
        with pytest.raises(Overloaded) as refused:
            check(queued(24), retries, max_wait=60)

    assert refused.value.retry_after == 100


# --- at the server ---


@contextmanager
def filled(api: ApiServer, path: str, num_waiting: int) -> Iterator[None]:
    """Let one request run, and queue this many more."""
    api.engine.pause()
    with ExitStack() as clients:
        clients.enter_context(api.begin(path, BODY))
        api.engine.wait_for(has(waiting=1))
        api.engine.step()
        api.engine.wait_for(has(running=1))
        for waiting in range(1, num_waiting + 1):
            clients.enter_context(api.begin(path, BODY))
            api.engine.wait_for(has(waiting=waiting))
        yield


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_a_wait_that_is_too_long_is_a_503_with_retry_after(prefix: str, streamed: bool) -> None:
    engine = FakeEngine(parrot, max_sequences=1, speeds=SPEEDS)
    path = f"{prefix}/completions"
    with (
        serving(engine, admissions=AdmissionController(queue=QueueSettings(max_wait=10.48))) as api,
        filled(api, path, 2),
    ):
        refused = api.post(path, BODY | {"stream": streamed})
        assert engine.stats().waiting == 2

    error = refused.json()["error"]
    assert (refused.status_code, error["type"], error["code"]) == (503, *DIALECTS[prefix].errors["overloaded"])
    # 199 tokens of the first and 200 of each of the others take 11.98 s.
    assert (refused.headers["retry-after"], refused.headers["retry-after-ms"]) == ("2", "1500")
    assert "the limit is 10 s" in error["message"]
    assert [record.hint for record in api.observed.records if record.status == 503] == ["--max-wait is the limit"]


@pytest.mark.slow
def test_requests_are_admitted_up_to_the_limit_of_waiting_sequences(prefix: str) -> None:
    engine = FakeEngine(parrot, max_sequences=1)
    path, body = f"{prefix}/completions", BODY | {"stream": False}
    with serving(engine, admissions=AdmissionController(queue=QueueSettings(max_waiting=5))) as api:
        with filled(api, path, 5):
            refused = [api.post(path, body).status_code for _ in range(3)]
            engine.resume()
            api.wait_until_idle()
        again = api.post(path, body)

    assert (refused, again.status_code) == ([503] * 3, 200)


def test_a_request_with_many_choices_is_admitted_if_one_sequence_fits(prefix: str) -> None:
    """Otherwise it would be rejected for ever."""
    with serving(admissions=AdmissionController(queue=QueueSettings(max_waiting=4))) as api:
        answer = api.post(f"{prefix}/completions", {"model": "fake", "prompt": [say("a")] * 20, "max_tokens": 5})

    assert len(answer.json()["choices"]) == 20


def test_a_rejection_by_a_full_queue_does_not_charge_the_key(prefix: str) -> None:
    callers = {"key": Caller("id", "a key", limits=Limits(requests_per_minute=1))}
    admissions = AdmissionController(queue=QueueSettings(max_waiting=0))
    path = f"{prefix}/completions"
    with (
        serving(FakeEngine(parrot, max_sequences=1), callers=callers, admissions=admissions) as api,
        filled(api, path, 0),
    ):
        for _ in range(2):
            assert api.post(path, BODY, {"authorization": "Bearer key"}).status_code == 503


def test_only_requests_that_can_start_at_once_are_admitted_if_the_engine_seems_slow(prefix: str) -> None:
    engine = FakeEngine(parrot, max_sequences=8, speeds=Speeds(1e-6, 1e-6, 1000))
    engine.pause()
    path = f"{prefix}/completions"
    admissions = AdmissionController(queue=QueueSettings(max_wait=0, max_waiting=0))
    with serving(engine, admissions=admissions) as api, ExitStack() as clients:
        for waiting in range(1, 9):
            clients.enter_context(api.begin(path, BODY))
            engine.wait_for(has(waiting=waiting))
        assert api.post(path, BODY).status_code == 503


def test_health_has_the_figures_of_the_wait_estimate(api: ApiServer) -> None:
    stats = api.get("/health/ready").json()["models"][0]["stats"]

    assert stats["pending_prompt_tokens"] == 0
    assert stats["speeds"] == {"prompt_tokens_per_s": 0.0, "answer_tokens_per_s": 0.0, "mean_output_tokens": 0.0}
