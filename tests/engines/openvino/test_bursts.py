"""Requests refused by the queue would have waited too long, and a request with a free slot is never refused.

Wait estimates at arrival are compared with the waits in a simulation of the real scheduler, in which a function gives
the duration of each step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

from crossette.api.guards.queue_wait import QueueSettings, RetrySchedule, check_queue
from crossette.engine import WaitEstimate
from crossette.errors import Overloaded
from support.bursts import SimulatedRequest, make_machine, make_scenario

pytestmark = pytest.mark.slow

NUM_SCENARIOS = 60


@pytest.fixture(scope="module")
def served() -> list[SimulatedRequest]:
    """All requests of all scenarios."""
    requests = []
    for seed in range(NUM_SCENARIOS):
        scenario = make_scenario(seed)
        scenario.machine.run(scenario.requests)
        requests += scenario.requests
    return requests


def is_refused(wait: WaitEstimate, limit_s: float = 60.0) -> bool:
    """Whether the API would refuse a request with this estimate."""
    try:
        check_queue(wait, QueueSettings(max_wait=limit_s, max_waiting=10**6), RetrySchedule(), now=0)
    except Overloaded:
        return True
    return False


def share(requests: Iterable[SimulatedRequest], of: list[SimulatedRequest]) -> float:
    return sum(1 for _ in requests) / len(of)


@pytest.mark.parametrize("limit_s", [3, 10, 30])
def test_nine_of_ten_refused_requests_would_have_waited_longer_than_the_limit(
    served: list[SimulatedRequest], limit_s: float
) -> None:
    refused = [request for request in served if is_refused(request.estimate, limit_s)]

    assert len(refused) > 500
    assert share((request for request in refused if request.waited > limit_s), refused) >= 0.9


@pytest.mark.parametrize("limit_s", [3, 10, 30])
def test_most_requests_that_would_wait_twice_the_limit_are_refused(
    served: list[SimulatedRequest], limit_s: float
) -> None:
    """Not all: in the first burst nothing was measured yet, and other requests may take slots first."""
    too_long = [request for request in served if request.waited > 2 * limit_s]

    assert len(too_long) > 500
    assert share((request for request in too_long if is_refused(request.estimate, limit_s)), too_long) >= 0.75


def test_no_request_with_a_free_slot_is_refused(served: list[SimulatedRequest]) -> None:
    """Not even with a limit of 0: this does not depend on measurements."""
    with_slot = [request for request in served if request.found_slot]

    assert len(with_slot) > 500
    assert not [request for request in with_slot if is_refused(request.estimate, limit_s=0)]


# --- prompts that are mostly cached ---


def steady(num_tokens: int, now: float) -> float:
    """About 500 prompt tokens per second, and 18 steps per second when a batch of 16 is full."""
    return 0.02 + 0.002 * num_tokens


def paused_at(pause: float) -> Callable[[int, float], float]:
    """Steady, but the first step after `pause` seconds takes eleven seconds longer."""
    pauses = [11.0]

    def seconds(num_tokens: int, now: float) -> float:
        return steady(num_tokens, now) + (pauses.pop() if pauses and now >= pause else 0.0)

    return seconds


def warm_up(shared: tuple[int, ...]) -> list[SimulatedRequest]:
    """Earlier requests, one after the other: they fill the prefix cache and the throughput measurements."""
    return [SimulatedRequest(at, (*shared, 10**6 + at), (70,), 70) for at in range(0, 60, 6)]


def burst(at: float, shared: tuple[int, ...], num: int = 32) -> list[SimulatedRequest]:
    prompts = [(*shared, *range(10**7 + 100 * i, 10**7 + 100 * i + 12)) for i in range(num)]
    return [SimulatedRequest(at, prompt, (70,), 70) for prompt in prompts]


@pytest.mark.parametrize(("pause", "num_shared"), [(None, 1600), (54.0, 400)], ids=["steady", "one slow step"])
def test_a_burst_of_mostly_cached_prompts_is_admitted(pause: float | None, num_shared: int) -> None:
    shared = tuple(range(num_shared))
    requests = burst(70.0, shared)
    machine = make_machine(steady if pause is None else paused_at(pause), slots=16, blocks=2000)
    machine.run([*warm_up(shared), *requests])

    assert max(request.waited for request in requests) < 10
    assert not [request for request in requests if is_refused(request.estimate)]


def test_a_shared_prefix_that_is_not_cached_yet_counts_once() -> None:
    shared = tuple(range(5000, 6500))
    requests = burst(70.0, shared)
    machine = make_machine(steady, slots=16, blocks=2000)
    machine.run([*warm_up(tuple(range(400))), *requests])

    assert max(request.waited for request in requests) < 15
    assert not [request for request in requests if is_refused(request.estimate, limit_s=30)]


def test_the_end_of_a_burst_without_shared_prefixes_that_waits_minutes_is_refused() -> None:
    prompts = [tuple(range(10**6 * i, 10**6 * i + 1500)) for i in range(1, 65)]
    requests = [SimulatedRequest(70.0, prompt, (300,), 300) for prompt in prompts]
    machine = make_machine(steady, slots=16, blocks=2000)
    machine.run([*warm_up(tuple(range(400))), *requests])

    refused = [request for request in requests if is_refused(request.estimate)]
    assert len(refused) > 20
    assert min(request.waited for request in refused) > 60
