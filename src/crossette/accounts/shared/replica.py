"""This process as one of the replicas that share a PostgreSQL."""

from __future__ import annotations

from crossette.accounts.shared.accounts import SharedAccounts
from crossette.accounts.shared.connections import Connections
from crossette.accounts.shared.ends import Ends
from crossette.accounts.shared.heartbeat import Heartbeat

_CLOSE_S = 2.0


class Replica:
    """Used in one event loop, from `start` to `stop`. `url` is one of libpq, `name` what people know it by."""

    def __init__(self, url: str, name: str) -> None:
        self._connections = Connections(url)
        self.name = name
        self.heartbeat = Heartbeat(self._connections, name)
        self._ends = Ends(self._connections)
        self.accounts = SharedAccounts(self._connections, self.heartbeat, self._ends)

    async def start(self) -> None:
        await self._connections.open()
        self.heartbeat.start()
        self._ends.start()

    async def stop(self) -> None:
        """Write what requests took, and take the row of this replica back."""
        await self._ends.stop(_CLOSE_S)
        await self.heartbeat.stop()
        await self._connections.close()
