"""A thread pool for one kind of slow work, with a bounded queue: it delays nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import TypeVar

from crossette.errors import Overloaded
from crossette.moving_average import MovingAverage

T = TypeVar("T")


class WorkerPool:
    """A few threads and a bounded queue. `waits_for` ends the sentence "12 requests wait ...".

    `timeout_s` limits one task, from the moment a thread takes it.
    """

    def __init__(
        self, name: str, num_threads: int, *, max_waiting: int, waits_for: str, timeout_s: float = 60.0
    ) -> None:
        self.timeout_s = timeout_s
        self.num_waiting = 0
        self._threads = ThreadPoolExecutor(num_threads, name)
        self._num_threads = num_threads
        self._max_waiting = max_waiting
        self._waits_for = waits_for
        self._work_s = MovingAverage()

    async def run(self, work: Callable[[], T]) -> T:
        """Run `work` in a thread. Raises Overloaded if the queue is full, TimeoutError if it takes too long."""
        if self.num_waiting >= self._max_waiting:
            raise Overloaded(
                f"{self.num_waiting} requests wait {self._waits_for}; the limit is {self._max_waiting}. Retry later.",
                retry_after=max(1.0, self.num_waiting * self._work_s.value / self._num_threads),
            )
        loop, begun = asyncio.get_running_loop(), asyncio.Event()

        def timed() -> T:
            loop.call_soon_threadsafe(begun.set)
            start = monotonic()
            try:
                return work()
            finally:
                self._work_s.add(monotonic() - start)

        self.num_waiting += 1
        running = loop.run_in_executor(self._threads, timed)
        try:
            await self._until_begun(begun)
            return await asyncio.wait_for(running, self.timeout_s)  # the time in the queue does not count
        finally:
            running.cancel()  # has no effect on work that a thread has taken

    def close(self) -> None:
        """Wait for running tasks."""
        self._threads.shutdown()

    async def _until_begun(self, begun: asyncio.Event) -> None:
        try:
            await begun.wait()
        finally:
            self.num_waiting -= 1
