"""Decisions on requests: those that arrive while the database works on others are asked for in one statement.

A statement costs a client and the database more than the decision in it.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from crossette.accounts.shared.connections import Connections, Row

MAX_STATEMENTS = 2
"""At once: one may wait for a key that other replicas are deciding on."""
_BATCH = 32
"""The most decisions of a statement, which holds the rows of their keys until it ends."""

# All replicas lock keys in one order, which prevents deadlocks; those of one key are decided as they arrived.
_DECIDE = """
SELECT asked.number, decided.* FROM (
    SELECT * FROM jsonb_to_recordset(%(asked)s::jsonb) AS a(number int, lease text, key text, replica text,
        prompt bigint, most bigint, sizes float8[], concurrent bigint, budget bigint, reads_ledger boolean)
    ORDER BY a.key, a.number
) AS asked CROSS JOIN LATERAL crossette_decide(asked.lease, asked.key, asked.replica, asked.prompt, asked.most,
    asked.sizes, asked.concurrent, asked.budget, asked.reads_ledger) AS decided
"""


@dataclass(frozen=True, slots=True)
class _Asked:
    values: Mapping[str, Any]
    """The parameters of `crossette_decide`, by name."""
    answer: asyncio.Future[Row]
    on_unknown: Callable[[], None]


class Decisions:
    """A queue that tasks empty, as long as it has something."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._queue: deque[_Asked] = deque()
        self._num_running = 0
        """Tasks that will look into the queue again: not one that has, but has not ended."""
        self._tasks: set[asyncio.Task[None]] = set()

    async def ask(self, values: Mapping[str, Any], on_unknown: Callable[[], None]) -> Row:
        """What `crossette_decide` returns. Raises DatabaseAway.

        `on_unknown` is called where the answer is not read though something may have been decided.
        """
        asked = _Asked(values, asyncio.get_running_loop().create_future(), on_unknown)
        self._queue.append(asked)
        if self._num_running < MAX_STATEMENTS:
            self._num_running += 1
            task = asyncio.create_task(self._run())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        try:
            return await asked.answer
        except asyncio.CancelledError:
            if not asked.answer.cancelled() and asked.answer.exception() is None:  # cancelled just after the answer
                on_unknown()
            raise

    async def _run(self) -> None:
        try:
            while self._queue:
                batch = [asked for asked in self._taken() if not asked.answer.done()]  # not those cancelled meanwhile
                if batch:
                    await self._decide(batch)
        finally:
            self._num_running -= 1

    def _taken(self) -> Sequence[_Asked]:
        return [self._queue.popleft() for _ in range(min(_BATCH, len(self._queue)))]

    async def _decide(self, batch: Sequence[_Asked]) -> None:
        asked = json.dumps([{"number": number, **each.values} for number, each in enumerate(batch)])
        try:
            rows = await self._connections.ask_all(_DECIDE, {"asked": asked}, lambda: _unknown(batch))
        except Exception as error:  # DatabaseAway, or a bug: whoever asked gets it
            for each in batch:
                if not each.answer.done():
                    each.answer.set_exception(error)
            return
        for row in rows:
            each = batch[row["number"]]
            if each.answer.done():  # cancelled meanwhile
                each.on_unknown()
            else:
                each.answer.set_result(row)


def _unknown(batch: Sequence[_Asked]) -> None:
    for each in batch:
        each.on_unknown()
