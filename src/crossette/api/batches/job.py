"""One batch while this server works on it: validated, run line by line, and ended."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec

from crossette.accounts.batches import Batch, Ended, LineResult
from crossette.api.batches.in_process import InProcess, Order
from crossette.api.batches.input_file import BatchLine, Line, lines, parsed, validate
from crossette.api.batches.recorder import Recorder
from crossette.api.batches.results import new_id, result_of
from crossette.api.batches.slots import Slots
from crossette.api.schema.batches import LineError, OutputLine
from crossette.api.storage import Storage

_CHUNK_LINES, _CHUNK_BYTES = 100, 4 * 2**20
"""What one visit of the database reads of the input file at most."""
_POLL_S = 0.02
"""How soon a batch notices that its engine has room again."""
_MAX_PAUSE_S = 0.25
"""The longest time between two looks at the limits of a key."""
_REASONS = {
    "expired": LineError(
        code="batch_expired", message="This request was not run before the end of the completion window."
    ),
    "cancelled": LineError(code="batch_cancelled", message="The batch was cancelled before this request was run."),
}


@dataclass(frozen=True, slots=True)
class Workplace:
    """What the batches of one server share."""

    runner: str
    """The id under which the server holds leases."""
    storage: Storage
    in_process: InProcess
    slots: Slots
    max_body_bytes: int
    wait_s: Callable[[str], float]
    """Seconds until the limits of a key allow a request of a batch."""


class Job:
    """Works on a batch that this server holds. All its state is in the database: any server can go on with it."""

    def __init__(self, batch: Batch, place: Workplace) -> None:
        self.batch = batch
        self.num_recorded = batch.completed + batch.failed
        self.num_running = 0
        self.total = batch.total
        self._place = place
        self._storage = place.storage
        self._recorder = Recorder(self._record)
        self._retries: deque[BatchLine] = deque()
        """Lines that were refused for now."""
        self._paused_until = 0.0
        self._wake = asyncio.Event()
        self._is_draining = False
        self._ends_as: Ended | None = "cancelled" if batch.status == "cancelling" else None
        self._stopped = asyncio.Event()

    def stop(self, ends_as: Ended) -> None:
        """End the batch: abort the lines that run, and record that the others were not run."""
        self._ends_as = self._ends_as or ends_as
        self._stopped.set()

    def drain(self) -> None:
        """Begin no more lines."""
        self._is_draining = True
        self._wake.set()

    async def run(self) -> None:
        """Work until the batch has ended, or until no line runs while draining. Raises LeaseLost or Overloaded."""
        status = self.batch.status
        if status == "validating" and not await self._validate():
            return
        if status in ("validating", "in_progress") and not await self._run_until_stopped():
            return
        ends_as: Ended = self._ends_as or "completed"
        if ends_as == "completed" and status != "finalizing" and not await self._call(self._store.finalize):
            ends_as = "cancelled"
        if ends_as != "completed":
            await self._record_rest(_REASONS[ends_as])
        await self._call(self._store.end, ends_as)

    # --- the steps ---

    @property
    def _store(self) -> Any:  # Any: its methods are passed on with their arguments
        return self._storage.batches

    async def _call(self, method: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """Call a method of the store that requires the lease."""
        return await self._storage.run(partial(method, self._place.runner, self.batch.id, *arguments, **named))

    async def _validate(self) -> bool:
        """Check the input file; the batch fails if it is invalid."""
        parts, limit = self._parts(), self._place.max_body_bytes
        found = await self._storage.run(lambda: validate(parts, self.batch.endpoint.__eq__, limit))
        if found.errors:
            await self._call(self._store.fail, [msgspec.structs.asdict(error) for error in found.errors])
            return False
        self.total = found.total
        await self._call(self._store.begin, total=found.total, model=found.model)
        return True

    async def _run_until_stopped(self) -> bool:
        """Run all lines that have no result. False if some were left because the server drains."""
        running = asyncio.create_task(self._run_lines())
        stopped = asyncio.create_task(self._stopped.wait())
        if self._ends_as is not None:
            self._stopped.set()
        try:
            await asyncio.wait({running, stopped}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            running.cancel()
            stopped.cancel()
            await asyncio.gather(running, stopped, return_exceptions=True)
            await self._recorder.flush()
        return running.cancelled() or running.result()

    async def _run_lines(self) -> bool:
        async with aclosing(self._pending()) as pending, asyncio.TaskGroup() as group:
            while not self._is_draining:
                line = self._retries.popleft() if self._retries else await anext(pending, None)
                if line is not None:
                    if await self._is_turn(line):
                        self.num_running += 1
                        group.create_task(self._run_line(line))
                        await asyncio.sleep(0)  # it enters the limits of its key before the next one looks at them
                elif self.num_running:
                    await self._sleep(_MAX_PAUSE_S)
                else:
                    return True
        return False

    async def _is_turn(self, line: BatchLine) -> bool:
        """Wait until the limits of the key and the engine have room for a line. False if the server drains."""
        loop = asyncio.get_running_loop()
        while not self._is_draining:
            pause = max(self._paused_until - loop.time(), self._place.wait_s(self.batch.key_id))
            if pause <= 0 and self._place.slots.take(line.model):
                return True
            await self._sleep(min(max(pause, _POLL_S), _MAX_PAUSE_S))
        return False

    async def _sleep(self, seconds: float) -> None:
        """Sleep, but no longer than until a line has ended."""
        self._wake.clear()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), seconds)

    async def _run_line(self, line: BatchLine) -> None:
        try:
            answer = await self._place.in_process.send(self._order(line))
        finally:
            self._place.slots.give_back(line.model)
            self.num_running -= 1
            self._wake.set()
        if answer.retry_after is None:
            await self._recorder.record(result_of(line, answer))
        else:
            self._retries.append(line)
            self._paused_until = asyncio.get_running_loop().time() + answer.retry_after

    def _order(self, line: BatchLine) -> Order:
        return Order(line.url, line.body, new_id(), self.batch.id, self.batch.key_id)

    # --- input and results ---

    async def _record(self, results: Sequence[LineResult]) -> None:
        await self._call(self._store.record, results)
        self.num_recorded += len(results)

    async def _record_rest(self, reason: LineError) -> None:
        """Record why the remaining lines have no response. A batch that was not validated has none."""
        if not self.total:
            return
        results: list[LineResult] = []
        async for line in self._pending():
            output = OutputLine(id=new_id(), custom_id=line.custom_id, response=None, error=reason)
            results.append(LineResult(line.number, is_completed=False, data=output.encoded()))
            if len(results) == _CHUNK_LINES:
                await self._record(results)
                results = []
        if results:
            await self._record(results)

    async def _pending(self) -> AsyncGenerator[BatchLine, None]:
        """The lines that have no result yet."""
        recorded = await self._storage.run(lambda: self._store.recorded(self.batch))
        reader = lines(self._parts(), self._place.max_body_bytes)
        while chunk := await self._storage.run(lambda: _take(reader)):
            for line in chunk:
                if line.number not in recorded:
                    yield parsed(line, self.batch.endpoint.__eq__)

    def _parts(self) -> Iterator[bytes]:
        return self._storage.files.parts(self.batch.input_file_id)


def _take(reader: Iterator[Line]) -> list[Line]:
    """The next lines, up to a number and a size."""
    chunk: list[Line] = []
    size = 0
    while len(chunk) < _CHUNK_LINES and size < _CHUNK_BYTES and (line := next(reader, None)) is not None:
        chunk.append(line)
        size += len(line.data)
    return chunk
