"""Statements of the event loop to a PostgreSQL that other replicas use too, and that may be away."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import psycopg
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

log = logging.getLogger(__name__)

MAX_CONNECTIONS = 4
ANSWER_TIMEOUT_S = 2.0
"""A database that takes longer is away: a request does not wait for it."""
_CONNECT_TIMEOUT_S = 2.0

Row = Mapping[str, Any]

_OPTIONS = {
    "autocommit": True,  # each statement is a transaction
    "prepare_threshold": None,  # PgBouncer may send the next statement to another connection of its own
    "row_factory": dict_row,
    "application_name": "crossette",
    "connect_timeout": 2,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,
}


class DatabaseAway(Exception):
    """The database does not answer. What the statement did, if anything, is unknown."""


class Connections:
    """A pool that knows whether the database is away. `ask` then fails at once, until `probe` has succeeded."""

    def __init__(self, url: str) -> None:
        logging.getLogger("psycopg.pool").setLevel(logging.ERROR)  # it warns for each failed attempt
        self._pool = AsyncConnectionPool(
            url,
            kwargs=_OPTIONS,
            min_size=1,
            max_size=MAX_CONNECTIONS,
            open=False,
            timeout=_CONNECT_TIMEOUT_S,
            reconnect_timeout=1.0,  # it gives up then, and tries again for the next statement
            num_workers=1,
        )
        self._is_known = asyncio.Event()
        """Whether a probe has ended."""
        self.is_away = False

    async def open(self) -> None:
        await self._pool.open()

    async def close(self) -> None:
        await self._pool.close(timeout=ANSWER_TIMEOUT_S)

    async def ask(
        self, statement: str, values: Mapping[str, Any], on_unknown: Callable[[], None] = lambda: None
    ) -> Row:
        """The only row of a statement, as `ask_all`."""
        (row,) = await self.ask_all(statement, values, on_unknown)
        return row

    async def ask_all(
        self, statement: str, values: Mapping[str, Any], on_unknown: Callable[[], None] = lambda: None
    ) -> Sequence[Row]:
        """The rows of a statement. Raises DatabaseAway.

        `on_unknown` is called where they are not read, once the statement has ended: the caller was cancelled, or the
        database is away.
        """
        await self._is_known.wait()
        if self.is_away:
            raise DatabaseAway
        asking = asyncio.ensure_future(self._rows(statement, values))
        try:
            done, _ = await asyncio.wait({asking}, timeout=ANSWER_TIMEOUT_S)
        except asyncio.CancelledError:
            asking.add_done_callback(lambda ended: _forget(ended, on_unknown))
            raise
        if not done:
            self._lose(f"no answer within {ANSWER_TIMEOUT_S:g} s")
            asking.add_done_callback(lambda ended: _forget(ended, on_unknown))
            raise DatabaseAway
        try:
            return asking.result()
        except (psycopg.Error, OSError) as error:
            self._lose(str(error))
            on_unknown()
            raise DatabaseAway from error

    async def probe(self, statement: str, values: Mapping[str, Any]) -> Row:
        """As `ask`, but also while the database is away, which it ends. Raises DatabaseAway."""
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                (row,) = await self._rows(statement, values)
        except (psycopg.Error, OSError, TimeoutError) as error:
            self._lose(str(error) or f"no answer within {ANSWER_TIMEOUT_S:g} s")
            raise DatabaseAway from error
        finally:
            self._is_known.set()
        if self.is_away:
            log.warning("The database is back: replicas share the limits of keys again")
        self.is_away = False
        return row

    async def _rows(self, statement: str, values: Mapping[str, Any]) -> Sequence[Row]:
        async with self._pool.connection() as connection:
            rows: Any = await (await connection.execute(statement, values)).fetchall()  # as the row factory makes them
        found: Sequence[Row] = rows
        return found

    def _lose(self, reason: str) -> None:
        if not self.is_away:
            first = (reason.splitlines() or [""])[0]
            log.warning("Limits of keys are applied without the other replicas, each its part: %s", first)
        self.is_away = True


def _forget(ended: asyncio.Future[Sequence[Row]], on_unknown: Callable[[], None]) -> None:
    ended.cancelled() or ended.exception()  # marks it as read
    on_unknown()
