"""The output queue between an engine and the event loop of a request."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from time import monotonic

from crossette.errors import ServingError
from crossette.types import TokenOutput


class OutputStream:
    """A `Generation` that an engine fills. All methods but the callbacks belong to the event loop's thread.

    Only `queued_s` is written by the engine's thread (`Meter.observe_begin`).

    `on_finish(index)` asks the engine to end one choice, `on_close()` to end all.
    """

    def __init__(
        self, indices: Iterable[int], *, on_finish: Callable[[int], None], on_close: Callable[[], None]
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.arrived_s = monotonic()
        self.queued_s: float | None = None
        self._open = set(indices)
        self._outputs: deque[TokenOutput] = deque()
        self._error: ServingError | None = None
        self._reader: asyncio.Future[None] | None = None
        self._on_finish = on_finish
        self._on_close = on_close

    def put(self, output: TokenOutput) -> None:
        """Add an output, unless the reader has ended its choice."""
        if output.index in self._open:
            self._outputs.append(output)
            self._wake()

    def fail(self, error: ServingError) -> None:
        """End the stream with an error, after the outputs already queued."""
        if self._open and self._error is None:
            self._error = error
            self._wake()

    def __aiter__(self) -> OutputStream:
        return self

    async def __anext__(self) -> TokenOutput:
        while True:
            while self._outputs:
                output = self._outputs.popleft()
                if output.index in self._open:
                    if output.finish_reason is not None:
                        self._open.discard(output.index)
                    return output
            if not self._open:
                raise StopAsyncIteration
            if self._error is not None:
                self._open.clear()
                raise self._error
            self._reader = self.loop.create_future()
            await self._reader

    def finish(self, index: int) -> None:
        if index in self._open:
            self._open.discard(index)
            self._on_finish(index)
            self._wake()

    async def aclose(self) -> None:
        if self._open:
            self._open.clear()
            self._on_close()
            self._wake()

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)
