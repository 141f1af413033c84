"""Who is refused by the queue would have waited too long, and who finds a place is never refused.

Estimates are what requests are told when they come, real waits are what the scheduler then does with them; a step
takes the time that a rule gives it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

from crossette.api.guards.queue_wait import QueueSettings, Returns, check_queue
from crossette.engine import WaitEstimate
from crossette.errors import Overloaded
from support.bursts import Ask, make_machine, story

pytestmark = pytest.mark.slow

NUM_STORIES = 60


@pytest.fixture(scope="module")
def served() -> list[Ask]:
    """All requests of all stories."""
    asks = []
    for seed in range(NUM_STORIES):
        told = story(seed)
        told.machine.play(told.asks)
        asks += told.asks
    return asks


def is_refused(wait: WaitEstimate, limit_s: float = 60.0) -> bool:
    """By the rule of the API."""
    try:
        check_queue(wait, QueueSettings(max_wait=limit_s, max_waiting=10**6), Returns(), now=0)
    except Overloaded:
        return True
    return False


def share(asks: Iterable[Ask], of: list[Ask]) -> float:
    return sum(1 for _ in asks) / len(of)


@pytest.mark.parametrize("limit_s", [3, 10, 30])
def test_nine_of_ten_that_are_refused_would_have_waited_longer_than_the_limit(
    served: list[Ask], limit_s: float
) -> None:
    refused = [ask for ask in served if is_refused(ask.told, limit_s)]

    assert len(refused) > 500
    assert share((ask for ask in refused if ask.waited > limit_s), refused) >= 0.9


@pytest.mark.parametrize("limit_s", [3, 10, 30])
def test_most_that_would_wait_twice_the_limit_are_refused(served: list[Ask], limit_s: float) -> None:
    """Not all: of the first burst of a machine nothing was measured before, and places are given to whoever comes."""
    too_long = [ask for ask in served if ask.waited > 2 * limit_s]

    assert len(too_long) > 500
    assert share((ask for ask in too_long if is_refused(ask.told, limit_s)), too_long) >= 0.75


def test_nobody_is_refused_that_finds_a_place(served: list[Ask]) -> None:
    """Not with a limit of nothing: it depends on no measurement."""
    placed = [ask for ask in served if ask.found_slot]

    assert len(placed) > 500
    assert not [ask for ask in placed if is_refused(ask.told, limit_s=0)]


# --- prompts that are mostly cached ---


def steady(num_tokens: int, now: float) -> float:
    """Some 500 tokens of prompts a second, and 18 steps a second when a batch of 16 is full."""
    return 0.02 + 0.002 * num_tokens


def paused_at(pause: float) -> Callable[[int, float], float]:
    """The machine is steady, but is paused for eleven seconds in the first step after some time."""
    pauses = [11.0]

    def seconds(num_tokens: int, now: float) -> float:
        return steady(num_tokens, now) + (pauses.pop() if pauses and now >= pause else 0.0)

    return seconds


def warm_up(shared: tuple[int, ...]) -> list[Ask]:
    """Requests that came before, one after the other: they leave their beginning in the cache, and speeds behind."""
    return [Ask(at, (*shared, 10**6 + at), (70,), 70) for at in range(0, 60, 6)]


def burst(at: float, shared: tuple[int, ...], num: int = 32) -> list[Ask]:
    return [Ask(at, (*shared, *range(10**7 + 100 * i, 10**7 + 100 * i + 12)), (70,), 70) for i in range(num)]


@pytest.mark.parametrize(("pause", "num_shared"), [(None, 1600), (54.0, 400)], ids=["steady", "slow for a moment"])
def test_a_burst_of_prompts_that_are_mostly_cached_is_let_in(pause: float | None, num_shared: int) -> None:
    shared = tuple(range(num_shared))
    asks = burst(70.0, shared)
    machine = make_machine(steady if pause is None else paused_at(pause), places=16, blocks=2000)
    machine.play([*warm_up(shared), *asks])

    assert max(ask.waited for ask in asks) < 10
    assert not [ask.told for ask in asks if is_refused(ask.told)]


def test_a_burst_with_a_beginning_that_nobody_has_computed_yet_counts_it_once() -> None:
    shared = tuple(range(5000, 6500))
    asks = burst(70.0, shared)
    machine = make_machine(steady, places=16, blocks=2000)
    machine.play([*warm_up(tuple(range(400))), *asks])

    assert max(ask.waited for ask in asks) < 15
    assert not [ask.told for ask in asks if is_refused(ask.told, limit_s=30)]


def test_a_burst_that_shares_nothing_and_waits_minutes_is_refused_at_its_end() -> None:
    asks = [Ask(70.0, tuple(range(10**6 * i, 10**6 * i + 1500)), (300,), 300) for i in range(1, 65)]
    machine = make_machine(steady, places=16, blocks=2000)
    machine.play([*warm_up(tuple(range(400))), *asks])

    refused = [ask for ask in asks if is_refused(ask.told)]
    assert len(refused) > 20
    assert min(ask.waited for ask in refused) > 60
