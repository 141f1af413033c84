"""The queue is bounded by how long the wait would be, and who is refused is told the truth about when to return."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from crossette.accounts.access import Caller, Limits
from crossette.api.guards.admission import AdmissionController
from crossette.api.guards.queue_wait import QueueSettings, Returns, check_queue
from crossette.engine import Speeds, WaitEstimate
from crossette.errors import Overloaded
from crossette.testing.fake_engine import FakeEngine
from support.api_server import DIALECTS, ApiServer, has, parrot, say, serving

SPEEDS = Speeds(answer_tokens_per_s=50, mean_output_tokens=200)
"""An answer takes four seconds: a batch of one lets somebody in as often."""

BODY = {"model": "fake", "prompt": say("x" * 500), "max_tokens": 1000, "stream": True}


def check(wait: WaitEstimate, returns: Returns | None = None, now: float = 1000, **bounds: Any) -> None:
    check_queue(wait, QueueSettings(**bounds), returns or Returns(), now)


def queued(waiting: int) -> WaitEstimate:
    """So many wait, and one ends every four seconds."""
    return WaitEstimate(waiting, has_slot=False, seconds=4.0 * (waiting + 1), slot_s=4)


# --- the decision ---


def test_who_finds_a_place_is_let_in_whatever_the_numbers_say() -> None:
    check(WaitEstimate(waiting=1000, has_slot=True, seconds=1e9, slot_s=1e9), max_wait=0, max_waiting=0)


def test_what_was_never_measured_refuses_nobody() -> None:
    check(WaitEstimate(waiting=400, has_slot=False))


def test_the_wait_that_is_told_is_what_exceeds_the_limit() -> None:
    with pytest.raises(Overloaded, match=r"The wait is about 100 s by now, and 60 s is the limit") as refused:
        check(queued(24), max_wait=60)

    assert refused.value.retry_after == 40
    check(queued(14), max_wait=60)  # so many are left after 40 s


def test_the_queue_is_bounded_by_number_too() -> None:
    with pytest.raises(Overloaded, match="12 sequences wait already, and 10 is the limit") as refused:
        check(queued(12), max_waiting=10)

    assert refused.value.retry_after == 12
    check(queued(9), max_waiting=10)


def test_those_who_are_refused_are_told_to_come_back_one_after_the_other() -> None:
    returns, told = Returns(), []
    for now in (1000, 1000, 1001, 1001, 2000):
        with pytest.raises(Overloaded) as refused:
            check(queued(24), returns, now, max_wait=60)
        told.append(now + refused.value.retry_after)

    assert told == [1040, 1044, 1048, 1052, 2040]


def test_clients_that_do_not_wait_push_nobody_away_for_ever() -> None:
    returns = Returns()
    for _ in range(1000):
        with pytest.raises(Overloaded) as refused:
            check(queued(24), returns, max_wait=60)

    assert refused.value.retry_after == 100


# --- at the server ---


@contextmanager
def filled(api: ApiServer, path: str, num_waiting: int) -> Iterator[None]:
    """Let one request run, and so many wait that find no place."""
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
def test_a_wait_that_is_too_long_is_a_503_with_the_time_to_come_back(prefix: str, streamed: bool) -> None:
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
    assert "--max-wait" in error["message"]


def test_so_many_are_let_in_as_the_limit_says_and_no_more(prefix: str) -> None:
    engine = FakeEngine(parrot, max_sequences=1)
    path, body = f"{prefix}/completions", BODY | {"stream": False}
    with serving(engine, admissions=AdmissionController(queue=QueueSettings(max_waiting=5))) as api:
        with filled(api, path, 5):
            refused = [api.post(path, body).status_code for _ in range(3)]
            engine.resume()
            api.wait_until_idle()
        again = api.post(path, body)

    assert (refused, again.status_code) == ([503] * 3, 200)


def test_a_request_of_many_choices_is_let_in_while_there_is_room_for_one(prefix: str) -> None:
    """Or it would be told to come back later for ever."""
    with serving(admissions=AdmissionController(queue=QueueSettings(max_waiting=4))) as api:
        answer = api.post(f"{prefix}/completions", {"model": "fake", "prompt": [say("a")] * 20, "max_tokens": 5})

    assert len(answer.json()["choices"]) == 20


def test_a_queue_that_is_full_takes_nothing_from_the_key(prefix: str) -> None:
    callers = {"key": Caller("id", "a key", limits=Limits(requests_per_minute=1))}
    admissions = AdmissionController(queue=QueueSettings(max_waiting=0))
    path = f"{prefix}/completions"
    with (
        serving(FakeEngine(parrot, max_sequences=1), callers=callers, admissions=admissions) as api,
        filled(api, path, 0),
    ):
        for _ in range(2):
            assert api.post(path, BODY, {"authorization": "Bearer key"}).status_code == 503


def test_a_burst_that_finds_places_is_let_in_however_slow_the_engine_seems_and_nobody_else(prefix: str) -> None:
    engine = FakeEngine(parrot, max_sequences=8, speeds=Speeds(1e-6, 1e-6, 1000))
    engine.pause()
    path = f"{prefix}/completions"
    admissions = AdmissionController(queue=QueueSettings(max_wait=0, max_waiting=0))
    with serving(engine, admissions=admissions) as api, ExitStack() as clients:
        for waiting in range(1, 9):
            clients.enter_context(api.begin(path, BODY))
            engine.wait_for(has(waiting=waiting))
        assert api.post(path, BODY).status_code == 503


def test_health_tells_what_the_estimate_is_made_of(api: ApiServer) -> None:
    told = api.get("/health/ready").json()["models"][0]["stats"]

    assert told["pending_prompt_tokens"] == 0
    assert told["speeds"] == {"prompt_tokens_per_s": 0.0, "answer_tokens_per_s": 0.0, "mean_output_tokens": 0.0}
