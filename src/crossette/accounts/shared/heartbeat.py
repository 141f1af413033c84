"""The row that says that this replica lives."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Callable, Mapping
from typing import Any

from crossette.accounts.shared.connections import Connections, DatabaseAway

BEAT_S = 2.0
"""Others count a replica that was not seen for ten seconds as ended: its places are free then."""
_RETRY_S = 0.5


class Heartbeat:
    """Renews the row of this replica. `state` has what `crossette status` shows of it."""

    def __init__(self, connections: Connections, name: str, state: Callable[[], Mapping[str, Any]] = dict) -> None:
        self._connections = connections
        self.id = f"{name}-{secrets.token_hex(4)}"
        self._name = name
        self.state = state
        self.num_replicas = 1
        """How many there were when the database was last seen."""
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Take the row back, so that no one waits until it is old."""
        if self._task is not None:
            self._task.cancel()
        try:
            await self._connections.ask(
                "WITH gone AS (DELETE FROM replicas WHERE id = %(id)s) SELECT 1", {"id": self.id}
            )
        except DatabaseAway:
            return  # the row gets old

    async def _run(self) -> None:
        while True:
            try:
                await self._beat()
            except DatabaseAway:
                await asyncio.sleep(_RETRY_S)
            else:
                await asyncio.sleep(BEAT_S)

    async def _beat(self) -> None:
        row = await self._connections.probe(
            "SELECT crossette_beat(%(id)s, %(name)s, %(state)s::json) AS replicas",
            {"id": self.id, "name": self._name, "state": json.dumps(self.state())},
        )
        self.num_replicas = max(1, row["replicas"])
