"""Records results in groups: those that come while a transaction runs share the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from crossette.accounts.batches import LineResult


class Recorder:
    """`write` stores results in one transaction. Raises what it raises."""

    def __init__(self, write: Callable[[Sequence[LineResult]], Awaitable[None]]) -> None:
        self._write = write
        self._waiting: list[tuple[LineResult, asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None

    async def record(self, result: LineResult) -> None:
        """Returns once the result is stored."""
        stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((result, stored))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write_waiting())
        await stored

    async def flush(self) -> None:
        """Wait until nothing is being written."""
        if self._writing is not None:
            await asyncio.wait({self._writing})

    async def _write_waiting(self) -> None:
        while self._waiting:
            group, self._waiting = self._waiting, []
            try:
                await self._write([result for result, _ in group])
            except Exception as error:
                for _, stored in group:
                    if not stored.done():
                        stored.set_exception(error)
            else:
                for _, stored in group:
                    if not stored.done():
                        stored.set_result(None)
        self._writing = None
