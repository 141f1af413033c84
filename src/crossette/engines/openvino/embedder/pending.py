"""The vectors of a request, between the embedder and the event loop of the request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import monotonic

import numpy as np

from crossette.engines.openvino.embedder.pooling import Vectors
from crossette.errors import ServingError


class PendingVectors:
    """An `Embedding` that an embedder fills. All methods belong to the event loop's thread, except those that say so.

    `on_close(self)` asks the embedder to drop the texts that it has not computed.
    """

    def __init__(self, num_texts: int, dimensions: int, on_close: Callable[[PendingVectors], None]) -> None:
        self.arrived_s = monotonic()
        self.queued_s: float | None = None
        self.num_computed = self.num_cached = 0
        self._loop = asyncio.get_running_loop()
        self._vectors = np.empty((num_texts, dimensions), np.float32)
        self._num_open = num_texts
        self._error: ServingError | None = None
        self._changed = asyncio.Event()
        self._on_close = on_close

    async def vectors(self) -> Vectors:
        while self._num_open:
            if self._error is not None:
                raise self._error
            self._changed.clear()
            await self._changed.wait()
        return self._vectors

    async def aclose(self) -> None:
        if self._num_open and self._error is None:
            self._on_close(self)
        self._num_open = 0

    # --- the embedder's thread ---

    def note_begun(self, now: float) -> bool:
        """Record that a step computes a text of the request; whether it is the first."""
        if self.queued_s is not None:
            return False
        self.queued_s = now - self.arrived_s
        return True

    def put_soon(self, indices: Sequence[int], vectors: Vectors, num_tokens: int) -> bool:
        """Deliver the vectors of these texts. False if the request's event loop is closed."""
        try:
            self._loop.call_soon_threadsafe(self._put, indices, vectors, num_tokens)
        except RuntimeError:
            return False
        return True

    def fail_soon(self, error: ServingError) -> None:
        """End the request with an error."""
        with suppress(RuntimeError):  # a closed loop has no reader
            self._loop.call_soon_threadsafe(self._fail, error)

    def _put(self, indices: Sequence[int], vectors: Vectors, num_tokens: int) -> None:
        if self._num_open:
            self._vectors[indices] = vectors
            self._num_open -= len(indices)
            self.num_computed += num_tokens
            self._changed.set()

    def _fail(self, error: ServingError) -> None:
        self._error = error
        self._changed.set()
