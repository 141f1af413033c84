"""Threads for one kind of slow work alone: it holds up nothing else, and not too much of it waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import TypeVar

from crossette.errors import Overloaded
from crossette.moving_average import MovingAverage

T = TypeVar("T")

PATIENCE_S = 60.0
"""For one piece of work, once its turn has come."""


class WorkerPool:
    """A few threads, and a bound on what waits for them. `waits_for` ends the sentence "12 requests wait ..."."""

    def __init__(self, name: str, num_threads: int, *, max_waiting: int, waits_for: str) -> None:
        self._threads = ThreadPoolExecutor(num_threads, name)
        self._num_threads = num_threads
        self._max_waiting = max_waiting
        self._waits_for = waits_for
        self._waiting = 0
        self._work_s = MovingAverage()

    async def do(self, work: Callable[[], T]) -> T:
        """Do it in a thread. Raises Overloaded if too much waits already, TimeoutError if it takes a minute itself."""
        if self._waiting >= self._max_waiting:
            raise Overloaded(
                f"{self._waiting} requests wait {self._waits_for}, and {self._max_waiting} is the limit. Retry later.",
                retry_after=max(1.0, self._waiting * self._work_s.value / self._num_threads),
            )
        loop, begun = asyncio.get_running_loop(), asyncio.Event()

        def timed() -> T:
            loop.call_soon_threadsafe(begun.set)
            start = monotonic()
            try:
                return work()
            finally:
                self._work_s.add(monotonic() - start)

        self._waiting += 1
        working = loop.run_in_executor(self._threads, timed)
        try:
            await self._turn(begun)
            return await asyncio.wait_for(working, PATIENCE_S)  # the time before its turn is not its own
        finally:
            working.cancel()  # what has not begun never will; what has, ends for itself

    async def _turn(self, begun: asyncio.Event) -> None:
        try:
            await begun.wait()
        finally:
            self._waiting -= 1
