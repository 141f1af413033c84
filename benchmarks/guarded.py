"""A database with a key that has every limit, none of which a benchmark reaches."""

from __future__ import annotations

from crossette.accounts.access import Limits
from crossette.accounts.database.database import Database
from crossette.accounts.database.keys import Keys

PLENTY = 10**9
EVERY_LIMIT = Limits(PLENTY, PLENTY, PLENTY, PLENTY, PLENTY, PLENTY)


def guarded_database(folder: str) -> tuple[str, str]:
    """A new SQLite database in `folder`: its URL, and the key."""
    url = f"sqlite:///{folder}/guards.db"
    database = Database(url)
    database.migrate()
    _, key = Keys(database).create("bench", limits=EVERY_LIMIT)
    database.close()
    return url, key
