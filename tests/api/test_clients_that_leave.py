"""`cancel_on_disconnect`: which end of a request wins when its client, its task and its work end it at once."""

from __future__ import annotations

import asyncio

import pytest
from starlette.types import Message

from crossette.api.http import ClientDisconnected, cancel_on_disconnect
from support.engine_calls import run

GONE: Message = {"type": "http.disconnect"}


class Client:
    """A client whose requests are read; it leaves when `leave` is called."""

    def __init__(self) -> None:
        self._has_left = asyncio.Event()

    def leave(self) -> None:
        self._has_left.set()

    async def receive(self) -> Message:
        await self._has_left.wait()
        return GONE


async def forever() -> None:
    await asyncio.Event().wait()


async def settle() -> None:
    """Some iterations of the event loop: a cancelled task needs two to end, and a late cancellation would be raised."""
    for _ in range(6):
        await asyncio.sleep(0)


async def is_alone() -> bool:
    """Whether no task is left but this one, and the one that waits for it."""
    await settle()
    return len(asyncio.all_tasks()) == 2


def test_a_disconnect_cancels_the_work() -> None:
    async def work() -> None:
        client = Client()
        asyncio.get_running_loop().call_later(0.01, client.leave)
        with pytest.raises(ClientDisconnected):
            await cancel_on_disconnect(client.receive, forever())
        await asyncio.sleep(0)
        task = asyncio.current_task()
        assert task is not None and task.cancelling() == 0
        assert await is_alone()

    run(work())


def test_an_error_of_receive_is_a_disconnect() -> None:
    async def work() -> None:
        async def receive() -> Message:
            raise ConnectionError

        with pytest.raises(ClientDisconnected):
            await cancel_on_disconnect(receive, forever())

    run(work())


def test_the_result_and_the_errors_of_the_work_are_passed_on() -> None:
    async def work() -> None:
        async def result() -> int:
            await asyncio.sleep(0)
            return 7

        async def error() -> None:
            await asyncio.sleep(0)
            raise ValueError("an error")

        assert await cancel_on_disconnect(Client().receive, result()) == 7
        with pytest.raises(ValueError, match="an error"):
            await cancel_on_disconnect(Client().receive, error())
        assert await is_alone()

    run(work())


@pytest.mark.parametrize("leaves_too", [False, True])
def test_a_task_that_is_cancelled_stays_cancelled(leaves_too: bool) -> None:
    async def work() -> None:
        client = Client()
        task = asyncio.create_task(cancel_on_disconnect(client.receive, forever()))
        await asyncio.sleep(0.01)
        if leaves_too:
            client.leave()
            await asyncio.sleep(0)  # the watcher reads the disconnect, and nobody has heard of it yet
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await is_alone()

    run(work())


@pytest.mark.parametrize("iterations", range(6))
def test_a_disconnect_around_the_end_of_the_work_cancels_nothing_that_follows(iterations: int) -> None:
    async def work() -> None:
        client = Client()

        async def ends() -> str:
            client.leave()
            for _ in range(iterations):
                await asyncio.sleep(0)
            return "done"

        try:
            assert await cancel_on_disconnect(client.receive, ends()) == "done"
        except ClientDisconnected:
            assert iterations > 1
        await settle()

    run(work())
