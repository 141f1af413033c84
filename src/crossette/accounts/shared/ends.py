"""Ends of requests, on their way to the database: in the order of arrival, and as many at once as have arrived."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice

from crossette.accounts.shared.connections import Connections, DatabaseAway

log = logging.getLogger(__name__)

MAX_QUEUED = 100_000
"""The most ends that wait while the database is away: some 30 MB."""
_BATCH = 500
_RETRY_S = 0.5


@dataclass(frozen=True, slots=True)
class End:
    """What a request took, to the column names of `crossette_end`."""

    key_id: str
    lease: str | None
    """None for a request that began while the database was away."""
    sizes: list[int | None]
    """The key's limits per minute."""
    requests: int = 0
    """1 for a request that was not counted yet, -1 for one that must not count."""
    prompt_tokens: int | None = None
    """None: what was taken when it was admitted."""
    cached_tokens: int = 0
    generated_tokens: int = 0
    is_usage: bool = False
    """Whether these tokens are expected of later requests too."""


class Ends:
    """A queue that a task empties."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._queue: deque[End] = deque(maxlen=MAX_QUEUED)
        self._has_some = asyncio.Event()
        self._num_added = self._num_written = self._num_sent = 0
        self._last_of: dict[str, int] = {}
        """The number of the newest queued end of each key."""
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    def add(self, end: End) -> None:
        if len(self._queue) == MAX_QUEUED:
            log.error("The usage of a request of %s is lost: the database is away for too long", self._queue[0].key_id)
            self._num_written += 1
        self._queue.append(end)
        self._num_added += 1
        self._last_of[end.key_id] = self._num_added
        self._has_some.set()

    async def written(self, key_id: str) -> None:
        """Wait until the database has the ends of a key that were added before, unless it is away."""
        number = self._last_of.get(key_id)
        if number is not None and not self._connections.is_away:
            await self._written(number)

    async def stop(self, timeout_s: float) -> None:
        """Write what is queued, if that is possible in this time: the database may be away, and come back."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self._queue:  # all are woken when it is found to be away
                    await self._written(self._num_added)
        if self._queue:
            log.error("The usage of %d requests is lost for the limits of their keys", len(self._queue))
        if self._task is not None:
            self._task.cancel()

    async def _written(self, number: int) -> None:
        if number > self._num_written:
            waiter = asyncio.get_running_loop().create_future()
            self._waiting.append((number, waiter))
            await waiter

    def _json(self, batch: Sequence[End]) -> str:
        return json.dumps([{**asdict(end), "is_repeated": number < self._num_sent} for number, end in enumerate(batch)])

    def _sent(self, number: int) -> None:
        """Note that the first ends of the queue may have been written, but that is unknown."""
        self._num_sent = max(self._num_sent, number)

    def _wake(self, *, all_of_them: bool = False) -> None:
        while self._waiting and (all_of_them or self._waiting[0][0] <= self._num_written):
            _, waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)

    def _done(self, batch: Sequence[End]) -> None:
        self._num_written += len(batch)
        self._num_sent = max(0, self._num_sent - len(batch))
        for end in batch:
            self._queue.popleft()
            if self._last_of.get(end.key_id, 0) <= self._num_written:
                self._last_of.pop(end.key_id, None)
        self._wake()

    async def _run(self) -> None:
        while True:
            await self._has_some.wait()
            batch = list(islice(self._queue, _BATCH))
            try:
                await self._connections.ask(
                    "SELECT crossette_end(%(ends)s::jsonb)",
                    {"ends": self._json(batch)},
                    partial(self._sent, len(batch)),
                )
            except DatabaseAway:
                self._wake(all_of_them=True)  # requests do not wait for it
                await asyncio.sleep(_RETRY_S)
                continue
            self._done(batch)
            if not self._queue:
                self._has_some.clear()
