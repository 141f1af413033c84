"""Opens the authenticator and the ledger for the lifetime of a server."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

from crossette.accounts.database.authenticator import KeyAuthenticator
from crossette.accounts.database.database import Database
from crossette.accounts.database.keys import Keys
from crossette.accounts.database.ledger_writer import DatabaseLedger
from crossette.accounts.database.responses import DatabaseResponses
from crossette.accounts.prices import parse_prices
from crossette.accounts.settings import AccountSettings
from crossette.errors import ConfigError, DatabaseError

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Accounts:
    """The authenticator and ledger of a server."""

    access: KeyAuthenticator
    ledger: DatabaseLedger
    responses: DatabaseResponses | None = None
    """None if responses are not stored."""


@contextmanager
def open_accounts(
    settings: AccountSettings, *, allow_anonymous: bool = False, store_responses: timedelta | None = None
) -> Iterator[Accounts]:
    """Open the database. On exit, write the waiting ledger rows. Responses are stored for `store_responses`.

    Raises ConfigError if keys may exist but cannot be read: a disk error must not disable authentication.
    """
    prices = parse_prices(settings.price)
    keep = timedelta(days=settings.ledger_days) if settings.ledger_days else None
    database = Database(settings.database_url)
    accounts = Accounts(
        KeyAuthenticator(Keys(database), allow_anonymous=allow_anonymous),
        DatabaseLedger(database, prices, keeps_content=settings.log_content, keep=keep),
        DatabaseResponses(database, store_responses) if store_responses else None,
    )
    _load(accounts, database)
    _purge_responses(database)
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


def _purge_responses(database: Database) -> None:
    """Delete expired responses, also those that a server that stored them left to one that does not."""
    try:
        DatabaseResponses(database, timedelta()).purge()
    except DatabaseError as error:
        log.warning("Can't delete expired responses: %s", error)


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
        accounts.ledger.load()
    except DatabaseError as error:
        raise ConfigError(f"{error}. The server does not start, because it cannot authenticate API keys.") from error
