"""Worker pools: a bounded queue, and `retry-after`."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from crossette.api import worker_pool
from crossette.api.worker_pool import WorkerPool
from crossette.errors import Overloaded
from support.api_server import LIMIT_S


class HeldWork:
    """Work that runs until the test releases it."""

    def __init__(self) -> None:
        self.begun, self.may_end = threading.Event(), threading.Event()

    def __call__(self) -> None:
        self.begun.set()
        assert self.may_end.wait(LIMIT_S)


@pytest.fixture
def pool() -> Iterator[WorkerPool]:
    """One thread, and a queue of one."""
    one = WorkerPool("test", 1, max_waiting=1, waits_for="for the test")
    yield one
    one.close()


def test_retry_after_is_estimated_from_the_first_task_on(pool: WorkerPool, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(worker_pool, "monotonic", lambda: clock[0])
    held = HeldWork()

    async def play() -> float:
        await pool.run(lambda: clock.__setitem__(0, 30.0))
        first = asyncio.create_task(pool.run(held))
        while pool.num_waiting or not held.begun.is_set():
            await asyncio.sleep(0.001)
        second = asyncio.create_task(pool.run(lambda: None))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded) as raised:
            await pool.run(lambda: None)
        held.may_end.set()
        await asyncio.gather(first, second)
        return raised.value.retry_after

    assert asyncio.run(play()) == 30.0


def test_a_cancelled_caller_frees_its_slot_and_its_work_does_not_run(pool: WorkerPool) -> None:
    done: list[str] = []
    held = HeldWork()

    async def play() -> None:
        first = asyncio.create_task(pool.run(held))
        while pool.num_waiting or not held.begun.is_set():
            await asyncio.sleep(0.001)
        waits = asyncio.create_task(pool.run(lambda: done.append("gave up")))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded, match="the limit is 1"):
            await pool.run(lambda: done.append("came too late"))
        waits.cancel()
        await asyncio.gather(waits, return_exceptions=True)
        after = asyncio.create_task(pool.run(lambda: done.append("after")))
        await asyncio.sleep(0)
        held.may_end.set()
        await asyncio.gather(first, after)

    asyncio.run(play())

    assert done == ["after"]
