"""Requests of a file, answered without a server: each result is appended to another file once it is known."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import msgspec

from crossette.accounts.batches import LineResult
from crossette.api.batches.in_process import InProcess, Order
from crossette.api.batches.input_file import BatchLine
from crossette.api.batches.results import new_id, result_of
from crossette.api.batches.slots import Slots
from crossette.errors import ConfigError

_POLL_S = 0.02


class _Answered(msgspec.Struct):
    custom_id: str


def answered(output: Path) -> frozenset[str]:
    """The custom_ids of the results in a file that an earlier run wrote. Cuts off a last line that is incomplete.

    Raises ConfigError if the file has other contents, or cannot be read.
    """
    found: set[str] = set()
    complete = 0
    try:
        with output.open("rb+") as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    break
                complete += len(line)
                try:
                    found.add(msgspec.json.decode(line, type=_Answered).custom_id)
                except (msgspec.DecodeError, UnicodeDecodeError):
                    raise ConfigError(
                        f"Line {number} of {output} is no result of a batch. Give another --out."
                    ) from None
            file.truncate(complete)
    except FileNotFoundError:
        return frozenset()
    except OSError as error:
        raise ConfigError(f"Can't read {output}: {error}") from error
    return frozenset(found)


class OfflineRun:
    """Runs as many requests at once as their engine takes. `note` is called with each result, once it is written."""

    def __init__(
        self, in_process: InProcess, slots: Slots, output: BinaryIO, note: Callable[[LineResult], None]
    ) -> None:
        self._in_process = in_process
        self._slots = slots
        self._output = output
        self._note = note
        self._ended = asyncio.Event()

    async def run(self, requests: Iterable[BatchLine]) -> None:
        async with asyncio.TaskGroup() as group:
            for request in requests:
                while not self._slots.take(request.model):
                    self._ended.clear()
                    with suppress(TimeoutError):
                        await asyncio.wait_for(self._ended.wait(), _POLL_S)
                group.create_task(self._run(request))
        os.fsync(self._output.fileno())

    async def _run(self, request: BatchLine) -> None:
        order = Order(request.url, request.body, new_id(), "")
        try:
            while (answer := await self._in_process.send(order)).retry_after is not None:
                await asyncio.sleep(answer.retry_after)
        finally:
            self._slots.give_back(request.model)
            self._ended.set()
        result = result_of(request, answer)
        self._output.write(result.data)
        self._output.flush()
        self._note(result)
