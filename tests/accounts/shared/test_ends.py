"""Ends of requests reach a database that was away, without one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any, cast

from crossette.accounts.shared import ends
from crossette.accounts.shared.connections import Connections, DatabaseAway
from crossette.accounts.shared.ends import End, Ends

LIMIT_S = 30


class AwayAtFirst:
    """A database that is away for the first statements."""

    is_away = False

    def __init__(self, num_away: int) -> None:
        self.num_away = num_away
        self.written: list[str] = []

    async def ask(self, statement: str, values: Mapping[str, Any], on_unknown: Callable[[], None]) -> Mapping[str, Any]:
        if self.num_away > 0:
            self.num_away -= 1
            raise DatabaseAway
        self.written += [end["key_id"] for end in json.loads(values["ends"])]
        return {}


def test_what_is_queued_at_the_end_is_written_once_the_database_is_back(monkeypatch: Any) -> None:
    monkeypatch.setattr(ends, "_RETRY_S", 0.01)
    database = AwayAtFirst(3)

    async def work() -> None:
        queue = Ends(cast(Connections, database))
        queue.start()
        for name in ("ann", "bob"):
            queue.add(End(name, None, [None]))
        await queue.stop(LIMIT_S)

    asyncio.run(work())
    assert database.written == ["ann", "bob"]
