"""Slow work in threads of its own: how many may wait for one, and what they are told."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from crossette.api import worker_pool as workshops
from crossette.api.worker_pool import WorkerPool
from crossette.errors import Overloaded
from support.api_server import LIMIT_S


class HeldWork:
    """Work that goes on until the test lets it end."""

    def __init__(self) -> None:
        self.begun, self.may_end = threading.Event(), threading.Event()

    def __call__(self) -> None:
        self.begun.set()
        assert self.may_end.wait(LIMIT_S)


@pytest.fixture
def workshop() -> Iterator[WorkerPool]:
    """One thread, for which one may wait."""
    one = WorkerPool("test", 1, max_waiting=1, waits_for="for the test")
    yield one
    one._threads.shutdown()


def test_the_time_to_come_back_is_known_from_the_first_form_on(
    workshop: WorkerPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr(workshops, "monotonic", lambda: clock[0])
    held = HeldWork()

    async def play() -> float:
        await workshop.do(lambda: clock.__setitem__(0, 30.0))
        first = asyncio.create_task(workshop.do(held))
        while workshop._waiting or not held.begun.is_set():
            await asyncio.sleep(0.001)
        second = asyncio.create_task(workshop.do(lambda: None))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded) as raised:
            await workshop.do(lambda: None)
        held.may_end.set()
        await asyncio.gather(first, second)
        return raised.value.retry_after

    assert asyncio.run(play()) == 30.0


def test_whoever_gives_up_while_it_waits_makes_room_and_costs_nothing(workshop: WorkerPool) -> None:
    done: list[str] = []
    held = HeldWork()

    async def play() -> None:
        first = asyncio.create_task(workshop.do(held))
        while workshop._waiting or not held.begun.is_set():
            await asyncio.sleep(0.001)
        waits = asyncio.create_task(workshop.do(lambda: done.append("gave up")))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded, match="1 is the limit"):
            await workshop.do(lambda: done.append("came too late"))
        waits.cancel()
        await asyncio.gather(waits, return_exceptions=True)
        after = asyncio.create_task(workshop.do(lambda: done.append("after")))
        await asyncio.sleep(0)
        held.may_end.set()
        await asyncio.gather(first, after)

    asyncio.run(play())

    assert done == ["after"]
