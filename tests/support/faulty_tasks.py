"""Faults at any await: tasks whose n-th suspension, counted over all tasks, raises an error."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from typing import Any


class Faults:
    """Raises `error` at the `strike_at`-th await, counted from 0 over all tasks of the loop."""

    def __init__(self, strike_at: int, error: BaseException) -> None:
        self.error = error
        self.num_awaits = 0
        self._strike_at = strike_at

    @property
    def has_struck(self) -> bool:
        return self.num_awaits > self._strike_at

    def strikes(self) -> bool:
        self.num_awaits += 1
        return self.num_awaits == self._strike_at + 1

    def task(
        self, loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any] | Generator[Any, None, Any], **given: Any
    ) -> asyncio.Task[Any]:
        """A task factory."""
        assert isinstance(work, Coroutine)
        return asyncio.Task(_Driven(work, self), loop=loop, **given)


class _Driven(Coroutine[Any, Any, Any]):
    """Drives a coroutine from await to await. At a fault, the awaited future is dropped."""

    def __init__(self, work: Coroutine[Any, Any, Any], faults: Faults) -> None:
        self._work = work
        self._faults = faults

    def send(self, value: Any) -> Any:
        return self._go_on(self._work.send(value))

    def throw(self, *error: Any) -> Any:
        return self._go_on(self._work.throw(*error))

    def close(self) -> None:
        self._work.close()

    def __await__(self) -> Generator[Any, None, Any]:
        return self._work.__await__()

    def _go_on(self, awaited: Any) -> Any:
        if not self._faults.strikes():
            return awaited
        if awaited is not None:
            awaited._asyncio_future_blocking = False  # otherwise no other task could await it
        return self.throw(self._faults.error)
