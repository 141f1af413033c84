"""How long forms may take to understand, and how many may wait for it: in threads of their own, a few at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import TypeVar

from crossette.buckets import Mean
from crossette.engine import Engine
from crossette.errors import InvalidRequest, Overloaded
from crossette.machine import usable_cpus
from crossette.text.output_plan import OutputPlan
from crossette.types import Constraint

T = TypeVar("T")

_PATIENCE_S = 60.0
"""For compiling a form. Limits of its own end that far earlier, after five seconds at the worst measured."""
_MAX_WAITING = 64
"""Forms that may wait for a thread."""


class Workshop:
    """Threads for forms alone, so that these hold up nothing else, and a bound on what waits for them."""

    def __init__(self, num_threads: int, max_waiting: int = _MAX_WAITING) -> None:
        self._threads = ThreadPoolExecutor(num_threads, "form")
        self._num_threads = num_threads
        self._max_waiting = max_waiting
        self._waiting = 0
        self._work_s = Mean()

    async def do(self, work: Callable[[], T]) -> T:
        """Do it in a thread. Raises Overloaded if too much waits already, TimeoutError if it takes a minute itself."""
        if self._waiting >= self._max_waiting:
            raise Overloaded(
                f"{self._waiting} requests wait for the form of their answer to be understood, and "
                f"{self._max_waiting} is the limit. Retry later.",
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

        working = loop.run_in_executor(self._threads, timed)
        try:
            await self._turn(begun)
            return await asyncio.wait_for(working, _PATIENCE_S)  # the time before its turn is not its own
        finally:
            working.cancel()  # what has not begun never will; what has, ends for itself

    async def _turn(self, begun: asyncio.Event) -> None:
        self._waiting += 1
        try:
            await begun.wait()
        finally:
            self._waiting -= 1


workshop = Workshop(usable_cpus())


async def prepared(making: Callable[[], OutputPlan], engine: Engine) -> OutputPlan:
    """The plan, its constraint compiled: a large one takes a second.

    Raises InvalidRequest for a form that cannot be enforced, Overloaded where too many wait for theirs.
    """

    def prepare() -> OutputPlan:
        plan = making()
        if plan.constraint is not None:
            _compile(plan, plan.constraint, engine)
        return plan

    try:
        return await workshop.do(prepare)
    except TimeoutError:
        raise InvalidRequest(
            f"The form of the answer was not understood within {_PATIENCE_S:.0f} s. Ask for a simpler one."
        ) from None


def _compile(plan: OutputPlan, constraint: Constraint, engine: Engine) -> None:
    """Raises InvalidRequest that names the tool, and the place in its schema, if it is one of these that fails."""
    try:
        engine.prepare(constraint)
    except InvalidRequest:
        for part in plan.parts:
            engine.prepare(part)
        raise
