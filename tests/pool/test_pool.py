"""Models are loaded once for all that wait, unloaded for lack of memory or use, and never while they are in use."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from crossette.errors import ModelError, ModelLoading, ModelUnavailable, ShuttingDown
from crossette.pool.model import ModelState
from crossette.pool.pool import RETRY_S, ModelPool
from support.model_loads import GIB, LIMIT_S, Loads


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(main, LIMIT_S))


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.005)


async def use(pool: ModelPool, *names: str) -> None:
    for name in names:
        (await pool.acquire(name)).release()


def pool_of(loads: Loads, *names: str, memory: int | None = 2 * GIB, min_idle_s: float = 0, **given: Any) -> ModelPool:
    return ModelPool((loads.source(name) for name in names), memory=memory, min_idle_s=min_idle_s, **given)


def test_fifty_requests_load_a_cold_model_once() -> None:
    loads = Loads()
    pool = pool_of(loads, "a")

    async def main() -> None:
        assert pool.models["a"].state == ModelState.COLD
        leases = await asyncio.gather(*(pool.acquire("a") for _ in range(50)))
        assert {id(lease.engine) for lease in leases} == {id(pool.engines["a"])}
        assert pool.models["a"].num_users == 50
        for lease in leases:
            lease.release()
            lease.release()  # has no effect
        assert pool.models["a"].num_users == 0

    run(main())
    assert loads.began == ["a"]


def test_three_models_take_turns_in_the_memory_of_two() -> None:
    loads = Loads()
    pool = pool_of(loads, "a", "b", "c")

    async def main() -> None:
        await use(pool, "a", "b", "a", "c")  # b is the least recently used
        assert loads.closed == ["b"]
        await use(pool, "b")
        assert loads.closed == ["b", "a"]
        states = {name: model.state for name, model in pool.models.items()}
        assert states == {"a": ModelState.ASLEEP, "b": ModelState.AWAKE, "c": ModelState.AWAKE}

    run(main())
    assert loads.began == ["a", "b", "c", "b"]


def test_a_model_in_use_is_not_unloaded() -> None:
    loads = Loads()
    pool = pool_of(loads, "a", "b", memory=GIB)

    async def main() -> None:
        running = await pool.acquire("a")
        waiting = asyncio.create_task(pool.acquire("b"))
        await until(lambda: pool.models["b"].state == ModelState.LOADING)
        await asyncio.sleep(0.02)
        assert loads.closed == []
        assert not await pool.unload("a")
        running.release()
        (await waiting).release()
        assert loads.closed == ["a"]

    run(main())


def test_a_kept_model_is_not_unloaded_for_others() -> None:
    loads = Loads()
    sources = [loads.source("a", keep=True), loads.source("b"), loads.source("c")]
    pool = ModelPool(sources, memory=2 * GIB, min_idle_s=0)

    async def main() -> None:
        await use(pool, "a", "b", "c", "b")

    pool.start("a")
    run(main())
    assert loads.began == ["a", "b", "c", "b"]
    assert loads.closed == ["b", "c"]


def test_a_model_that_was_just_used_stays_for_a_moment() -> None:
    loads, clock = Loads(), Clock()
    pool = ModelPool([loads.source("a"), loads.source("b")], memory=GIB, min_idle_s=0.05, clock=clock)

    async def main() -> None:
        await use(pool, "a")
        waiting = asyncio.create_task(pool.acquire("b"))
        await asyncio.sleep(0.15)
        assert loads.closed == []
        clock.now += 1
        (await waiting).release()
        assert loads.closed == ["a"]

    run(main())


def test_a_model_of_another_process_neither_waits_for_others_nor_is_unloaded_for_them() -> None:
    loads = Loads()
    outside = [loads.source(name, memory=0) for name in ("x", "y")]
    pool = ModelPool([*outside, loads.source("a"), loads.source("b")], memory=GIB, min_idle_s=0)
    held = [loads.hold("x"), loads.hold("a")]

    async def main() -> None:
        waiting = [asyncio.create_task(pool.acquire(name)) for name in ("x", "a", "y")]
        (await waiting[2]).release()
        assert set(loads.began) == {"x", "a", "y"}
        for gate in held:
            gate.set()
        for acquired in waiting[:2]:
            (await acquired).release()
        await use(pool, "b")  # x was used before a
        assert loads.closed == ["a"]

    run(main())


def test_a_load_that_nobody_waits_for_any_more_does_not_begin() -> None:
    loads = Loads()
    pool = pool_of(loads, "a", "b", memory=GIB)

    async def main() -> None:
        running = await pool.acquire("a")
        waiting = asyncio.create_task(pool.acquire("b"))
        await until(lambda: pool.models["b"].state == ModelState.LOADING)
        waiting.cancel()
        running.release()
        await until(lambda: pool.models["b"].state == ModelState.COLD)
        assert (loads.began, loads.closed) == (["a"], [])

    run(main())


def test_a_request_waits_for_so_long_and_then_learns_when_to_retry() -> None:
    loads, clock = Loads(), Clock()
    pool = pool_of(loads, "a", max_wait_s=0.05, clock=clock)

    async def main() -> None:
        gate = loads.hold("a")
        with pytest.raises(ModelLoading) as unknown:
            await pool.acquire("a")
        assert unknown.value.retry_after == 10  # no load was measured yet
        clock.now += 7
        gate.set()
        await until(lambda: "a" in pool.engines)
        assert await pool.unload("a")

        gate.clear()
        with pytest.raises(ModelLoading) as known:  # at once: the last load took longer than a request waits
            await pool.acquire("a")
        assert known.value.retry_after == 7
        gate.set()
        await until(lambda: "a" in pool.engines)  # for the retry

    run(main())


def test_the_queue_for_a_load_is_bounded() -> None:
    loads = Loads()
    pool = pool_of(loads, "a", max_waiting=3)

    async def main() -> None:
        gate = loads.hold("a")
        waiting = [asyncio.create_task(pool.acquire("a")) for _ in range(3)]
        await until(lambda: bool(loads.began))
        with pytest.raises(ModelLoading):
            await pool.acquire("a")
        gate.set()
        assert len(await asyncio.gather(*waiting)) == 3

    run(main())


@pytest.mark.parametrize(
    ("fault", "reason"),
    [(ModelError("the file is cut"), "the file is cut"), (MemoryError(), "MemoryError, see the log of the server.")],
    ids=["expected", "unexpected"],
)
def test_a_broken_model_harms_only_its_own_requests(fault: Exception, reason: str) -> None:
    loads, clock = Loads(), Clock()
    loads.faults["a"] = fault
    pool = pool_of(loads, "a", "b", clock=clock)

    async def refusal() -> ModelUnavailable:
        with pytest.raises(ModelUnavailable) as raised:
            await pool.acquire("a")
        return raised.value

    async def main() -> None:
        several = await asyncio.gather(*(refusal() for _ in range(3)), use(pool, "b"))
        assert all(str(error).endswith(f"cannot be loaded: {reason}") for error in several[:3])
        assert (pool.models["a"].state, pool.models["a"].error) == (ModelState.FAILED, reason)
        clock.now += RETRY_S - 1
        assert (await refusal()).retry_after == 1
        assert loads.began.count("a") == 1
        clock.now += 1
        del loads.faults["a"]
        await use(pool, "a")
        assert pool.models["a"].error == ""

    run(main())


def test_a_kept_model_is_not_unloaded_on_request() -> None:
    loads = Loads()
    pool = ModelPool([loads.source("a", keep=True)])
    pool.start("a")

    async def main() -> None:
        assert not await pool.unload("a")

    run(main())
    assert loads.closed == []


def test_an_idle_model_is_unloaded() -> None:
    loads = Loads()
    sources = [loads.source("a", idle_unload_s=0.05), loads.source("b"), loads.source("c", idle_unload_s=0.05)]
    pool = ModelPool(sources)

    async def main() -> None:
        pool.plan_unloads()
        running = await pool.acquire("a")
        await use(pool, "b")
        await until(lambda: loads.closed == ["c"])  # it was never used
        await asyncio.sleep(0.1)
        assert loads.closed == ["c"]
        running.release()
        await until(lambda: loads.closed == ["c", "a"])
        await use(pool, "a")

    pool.start("c")
    run(main())


def test_load_and_unload_on_request() -> None:
    loads = Loads()
    loads.faults["a"] = ModelError("broken")
    pool = pool_of(loads, "a")

    async def main() -> None:
        for _ in range(2):  # at once, without the wait between the attempts of requests
            with pytest.raises(ModelUnavailable):
                await pool.load("a")
        loads.faults.clear()
        await pool.load("a")
        await pool.load("a")
        assert await pool.unload("a")
        assert not await pool.unload("a")

    run(main())
    assert loads.began == ["a"] * 3


@pytest.mark.parametrize("awaited", ["acquire", "load"])
def test_a_pool_that_is_closed_during_a_load_fails_its_requests_and_frees_the_model(awaited: str) -> None:
    """The load cannot be cancelled, so the requests do not wait for it: they still get an answer at the shutdown."""
    loads = Loads()
    pool = pool_of(loads, "a")

    async def main() -> None:
        gate = loads.hold("a")
        begin: Callable[[str], Awaitable[object]] = getattr(pool, awaited)
        waiting = asyncio.ensure_future(begin("a"))
        await until(lambda: bool(loads.began))
        pool.close()
        with pytest.raises(ShuttingDown):
            await waiting
        assert (loads.closed, pool.models["a"].num_users) == ([], 0)
        gate.set()
        await until(lambda: loads.closed == ["a"])

    run(main())
