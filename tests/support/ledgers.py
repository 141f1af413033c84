"""A running ledger and its rows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event
from typing import Any

from sqlalchemy import select

from crossette.accounts.database.database import Database
from crossette.accounts.database.ledger_writer import DatabaseLedger
from crossette.accounts.database.tables import requests

LIMIT_S = 60


@contextmanager
def running(database: Database, **settings: Any) -> Iterator[DatabaseLedger]:
    ledger = DatabaseLedger(database, **settings)
    ledger.load()
    ledger.start()
    try:
        yield ledger
    finally:
        ledger.close()


def kept(database: Database) -> list[dict[str, Any]]:
    with database.read() as connection:
        return [dict(row) for row in connection.execute(select(requests)).mappings()]


def ids(database: Database) -> list[str]:
    return sorted(row["id"] for row in kept(database))


def wait_for(ledger: DatabaseLedger, **counts: int) -> None:
    """Return when the ledger's stats have these counts."""
    pause = Event()
    for _ in range(LIMIT_S * 100):
        if all(getattr(ledger.stats(), name) == count for name, count in counts.items()):
            return
        pause.wait(0.01)
    raise AssertionError(f"{ledger.stats()} never came to {counts}")
