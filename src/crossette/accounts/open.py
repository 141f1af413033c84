"""Keys and ledger, opened for as long as a server runs."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

from crossette.accounts.database.database import Database
from crossette.accounts.database.key_ring import KeyRing
from crossette.accounts.database.keys import Keys
from crossette.accounts.database.ledger_writer import DatabaseLedger
from crossette.accounts.prices import parse_prices
from crossette.accounts.settings import StoreSettings
from crossette.errors import ConfigError, StoreError

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Store:
    """What a server needs of the database."""

    access: KeyRing
    ledger: DatabaseLedger


@contextmanager
def open_store(settings: StoreSettings, *, allow_anonymous: bool = False) -> Iterator[Store]:
    """Open the database, and write what waits at the end.

    Raises ConfigError where keys may exist but cannot be read: a server must not be open for a fault of its disk.
    """
    prices = parse_prices(settings.price)
    keep = timedelta(days=settings.ledger_days) if settings.ledger_days else None
    database = Database(settings.database_url)
    store = Store(
        KeyRing(Keys(database), allow_anonymous=allow_anonymous),
        DatabaseLedger(database, prices, keeps_content=settings.log_content, keep=keep),
    )
    _load(store, database)
    store.access.start()
    store.ledger.start()
    try:
        yield store
    finally:
        store.access.close()
        store.ledger.close()
        database.close()


def _load(store: Store, database: Database) -> None:
    try:
        database.migrate()
    except StoreError as error:
        if database.is_blank():
            log.warning("Keys and usage cannot be kept: %s", error)
            return
        log.warning("The ledger cannot be written: %s", error)
    try:
        store.access.refresh()
        store.ledger.load()
    except StoreError as error:
        raise ConfigError(f"{error}. The server does not start, for it cannot know who has a key.") from error
