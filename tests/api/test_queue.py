"""The queue is bounded by how long the wait would be, and who is refused is told the truth about when to return."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import pytest

from api_server import DIALECTS, ApiServer, has, parrot, say, serving
from crossette.access import Caller, Limits
from crossette.api.admission import Gate
from crossette.api.queue import QueueSettings, Returns, check_queue, estimated_wait_s
from crossette.engine import EngineStats, Speeds
from crossette.engines.fake import FakeEngine
from crossette.errors import Overloaded

SPEEDS = Speeds(prompt_tokens_per_s=100, output_tokens_per_s=50, mean_output_tokens=200)
"""A prompt token takes 10 ms, and a full batch lets somebody in every 4 s."""

IDLE = EngineStats(0, 0, 100, 100, 0, 0, 0, 0, speeds=SPEEDS)
BODY = {"model": "fake", "prompt": say("x" * 500), "max_tokens": 1000, "stream": True}


def stats(**counts: int) -> EngineStats:
    return replace(IDLE, **counts)  # type: ignore[arg-type]  # all of them are ints


def check(counts: EngineStats, returns: Returns | None = None, now: float = 1000, **bounds: Any) -> None:
    check_queue(counts, QueueSettings(**bounds), returns or Returns(), now)


# --- the estimate ---


def test_nobody_waits_at_an_idle_engine() -> None:
    assert estimated_wait_s(IDLE) == 0


def test_prompts_ahead_take_as_long_as_was_measured() -> None:
    assert estimated_wait_s(stats(running=3, waiting=2, pending_prompt_tokens=1500)) == 15


def test_those_for_whom_there_is_a_place_do_not_wait() -> None:
    assert estimated_wait_s(stats(waiting=20)) == 0  # nothing is known of places
    assert estimated_wait_s(stats(running=3, waiting=20, max_sequences=24)) == 0


def test_those_who_have_just_come_wait_too_if_there_is_no_place_for_all() -> None:
    assert estimated_wait_s(stats(running=4, waiting=20, max_sequences=8)) == 17 * 4


def test_a_full_batch_lets_one_in_for_each_that_ends() -> None:
    assert estimated_wait_s(stats(running=8, waiting=4, held_back=3)) == 20


def test_the_longer_of_the_two_counts() -> None:
    both = stats(running=8, waiting=4, held_back=4, pending_prompt_tokens=3000)

    assert estimated_wait_s(both) == 30


def test_a_batch_that_was_never_full_is_faster_when_it_is() -> None:
    alone = replace(SPEEDS, output_tokens_per_s=20, step_s=0.05)

    assert estimated_wait_s(replace(stats(running=8, max_sequences=8), speeds=alone)) == 200 / (8 / 0.05)


def test_what_was_never_measured_refuses_nobody() -> None:
    unmeasured = replace(stats(running=8, waiting=4, held_back=4, pending_prompt_tokens=10**6), speeds=Speeds())

    assert estimated_wait_s(unmeasured) == 0
    check(unmeasured)


def test_the_wait_that_is_told_is_what_exceeds_the_limit() -> None:
    with pytest.raises(Overloaded, match=r"The wait is about 100 s by now, and 60 s is the limit") as refused:
        check(stats(waiting=24, held_back=24), max_wait=60)

    assert refused.value.retry_after == 40
    check(stats(waiting=14, held_back=14), max_wait=60)  # so many are left after 40 s


def test_the_queue_is_bounded_by_number_too() -> None:
    with pytest.raises(Overloaded, match="12 sequences wait already, and 10 is the limit") as refused:
        check(stats(waiting=12, held_back=12), max_waiting=10)

    assert refused.value.retry_after == 12
    check(stats(waiting=9, held_back=9), max_waiting=10)


def test_those_who_are_refused_are_told_to_come_back_one_after_the_other() -> None:
    returns, told = Returns(), []
    for now in (1000, 1000, 1001, 1001, 2000):
        with pytest.raises(Overloaded) as refused:
            check(stats(waiting=24, held_back=24), returns, now, max_wait=60)
        told.append(now + refused.value.retry_after)

    assert told == [1040, 1044, 1048, 1052, 2040]


def test_clients_that_do_not_wait_push_nobody_away_for_ever() -> None:
    returns = Returns()
    for _ in range(1000):
        with pytest.raises(Overloaded) as refused:
            check(stats(waiting=24, held_back=24), returns, max_wait=60)

    assert refused.value.retry_after == 100


# --- at the server ---


@contextmanager
def filled(api: ApiServer, path: str, num_waiting: int) -> Iterator[None]:
    """Let one request run, and so many wait that its step left behind."""
    api.engine.pause()
    with ExitStack() as clients:
        clients.enter_context(api.begin(path, BODY))
        api.engine.wait_for(has(waiting=1))
        api.engine.step()
        api.engine.wait_for(has(running=1))
        for waiting in range(1, num_waiting + 1):
            clients.enter_context(api.begin(path, BODY))
            api.engine.wait_for(has(waiting=waiting))
        api.engine.step()
        api.engine.wait_for(has(running=1, waiting=num_waiting, held_back=num_waiting))
        yield


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_a_wait_that_is_too_long_is_a_503_with_the_time_to_come_back(prefix: str, streamed: bool) -> None:
    engine = FakeEngine(parrot, max_sequences=1, speeds=SPEEDS)
    path = f"{prefix}/completions"
    with serving(engine, gate=Gate(queue=QueueSettings(max_wait=10.5))) as api, filled(api, path, 2):
        refused = api.post(path, BODY | {"stream": streamed})
        assert engine.stats().waiting == 2

    error = refused.json()["error"]
    assert (refused.status_code, error["type"], error["code"]) == (503, *DIALECTS[prefix].errors["overloaded"])
    assert (refused.headers["retry-after"], refused.headers["retry-after-ms"]) == ("2", "1500")
    assert "--max-wait" in error["message"]


def test_so_many_are_let_in_as_the_limit_says_and_no_more(prefix: str) -> None:
    engine = FakeEngine(parrot, max_sequences=1)
    path, body = f"{prefix}/completions", BODY | {"stream": False}
    with serving(engine, gate=Gate(queue=QueueSettings(max_waiting=5))) as api:
        with filled(api, path, 5):
            refused = [api.post(path, body).status_code for _ in range(3)]
            engine.resume()
            api.wait_until_idle()
        again = api.post(path, body)

    assert (refused, again.status_code) == ([503] * 3, 200)


def test_a_request_of_many_choices_is_let_in_while_there_is_room_for_one(prefix: str) -> None:
    """Or it would be told to come back later for ever."""
    with serving(gate=Gate(queue=QueueSettings(max_waiting=4))) as api:
        answer = api.post(f"{prefix}/completions", {"model": "fake", "prompt": [say("a")] * 20, "max_tokens": 5})

    assert len(answer.json()["choices"]) == 20


def test_a_queue_that_is_full_takes_nothing_from_the_key(prefix: str) -> None:
    callers = {"key": Caller("id", "a key", limits=Limits(requests_per_minute=1))}
    with serving(callers=callers, gate=Gate(queue=QueueSettings(max_waiting=0))) as api:
        for _ in range(2):
            assert api.post(f"{prefix}/completions", BODY, {"authorization": "Bearer key"}).status_code == 503


def test_health_tells_what_the_estimate_is_made_of(api: ApiServer) -> None:
    told = api.get("/health/ready").json()["models"][0]["stats"]

    assert (told["held_back"], told["pending_prompt_tokens"]) == (0, 0)
    assert told["speeds"] == {
        "prompt_tokens_per_s": 0.0,
        "output_tokens_per_s": 0.0,
        "mean_output_tokens": 0.0,
        "step_s": 0.0,
    }
    assert math.isfinite(estimated_wait_s(api.engine.stats()))
