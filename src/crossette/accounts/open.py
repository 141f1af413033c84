"""Opens the authenticator, the ledger and the files for the lifetime of a server."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from crossette.accounts.database.authenticator import KeyAuthenticator
from crossette.accounts.database.batches import DatabaseBatches
from crossette.accounts.database.database import Database
from crossette.accounts.database.files import DatabaseFiles
from crossette.accounts.database.keys import Keys
from crossette.accounts.database.ledger_writer import DatabaseLedger
from crossette.accounts.database.responses import DatabaseResponses
from crossette.accounts.files import MAX_KEEP, MIN_KEEP
from crossette.accounts.prices import parse_prices
from crossette.accounts.settings import AccountSettings, FileSettings
from crossette.errors import ConfigError, DatabaseError
from crossette.timespec import parse_duration

if TYPE_CHECKING:
    from crossette.accounts.shared.replica import Replica

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Accounts:
    """The authenticator and ledger of a server; files and batches if they are stored."""

    access: KeyAuthenticator
    ledger: DatabaseLedger
    keys: Keys
    responses: DatabaseResponses | None = None
    """None if responses are not stored."""
    files: DatabaseFiles | None = None
    batches: DatabaseBatches | None = None
    replica: Replica | None = None
    """What shares the limits of keys with other servers; None with SQLite, which one server uses alone."""


@contextmanager
def open_accounts(
    settings: AccountSettings,
    files: FileSettings | None = None,
    *,
    allow_anonymous: bool = False,
    store_responses: timedelta | None = None,
    replica_name: str = "crossette",
) -> Iterator[Accounts]:
    """Open the database. On exit, write the waiting ledger rows. Responses are stored for `store_responses`.

    Raises ConfigError if keys may exist but cannot be read: a disk error must not disable authentication.
    """
    prices = parse_prices(settings.price)
    keep = timedelta(days=settings.ledger_days) if settings.ledger_days else None
    stored_for = _stored_for(files or FileSettings())
    database = Database(settings.database_url)
    keys = Keys(database)
    accounts = Accounts(
        KeyAuthenticator(keys, allow_anonymous=allow_anonymous),
        DatabaseLedger(
            database, prices, keeps_content=settings.log_content, keep=keep, batch_price=settings.batch_price
        ),
        keys,
        DatabaseResponses(database, store_responses) if store_responses else None,
        DatabaseFiles(database, stored_for) if stored_for else None,
        DatabaseBatches(database, stored_for) if stored_for else None,
        _replica(database, replica_name),
    )
    _load(accounts, database)
    _purge(database)
    accounts.access.start()
    accounts.ledger.start()
    if accounts.responses is not None:
        accounts.responses.start()
    try:
        yield accounts
    finally:
        if accounts.responses is not None:
            accounts.responses.close()
        accounts.access.close()
        accounts.ledger.close()
        database.close()


def _replica(database: Database, name: str) -> Replica | None:
    if database.libpq_url is None:
        return None
    from crossette.accounts.shared.replica import Replica  # imports psycopg

    return Replica(database.libpq_url, name)


def _stored_for(settings: FileSettings) -> timedelta | None:
    """How long files are stored; None if they are not. Raises ConfigError."""
    if settings.store_files is None:
        return None
    try:
        keep = parse_duration(settings.store_files)
    except ValueError as error:
        raise ConfigError(f"--store-files: {error}") from None
    if not MIN_KEEP <= keep <= MAX_KEEP:
        raise ConfigError(f"--store-files is {settings.store_files}. It must be 1h to {MAX_KEEP.days}d.")
    return keep


def _purge(database: Database) -> None:
    """Delete expired files and responses, also those that a server that stored them left to one that does not."""
    try:
        DatabaseFiles(database, timedelta()).purge()
        DatabaseResponses(database, timedelta()).purge()
    except DatabaseError as error:
        log.warning("Can't delete expired files and responses: %s", error)


def _load(accounts: Accounts, database: Database) -> None:
    try:
        database.migrate()
    except DatabaseError as error:
        if database.is_blank():
            log.warning("Keys and usage cannot be stored: %s", error)
            return
        log.warning("The ledger cannot be written: %s", error)
    try:
        accounts.access.refresh()
        if accounts.replica is None:  # else budgets are shared, and read when a key needs it
            accounts.ledger.load()
    except DatabaseError as error:
        raise ConfigError(f"{error}. The server does not start, because it cannot authenticate API keys.") from error
