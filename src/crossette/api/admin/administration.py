"""What the endpoints under /admin share: the keys, threads for their database, and who may change them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar

from starlette.requests import Request

from crossette.accounts.access import Caller
from crossette.accounts.keys import KeyRecord, KeyStore
from crossette.accounts.ledger import Ledger
from crossette.api.exchange import Exchange
from crossette.api.worker_pool import WorkerPool
from crossette.errors import ADMIN_HINT, ConfigError, DatabaseError, Forbidden, InvalidRequest, NotFound, Overloaded

log = logging.getLogger(__name__)

T = TypeVar("T")

_RETRY_AFTER_S = 5.0


def _workers() -> WorkerPool:
    return WorkerPool("admin", 1, max_waiting=16, waits_for="for the database of keys")


@dataclass(frozen=True, slots=True)
class KeyAdministration:
    """The keys of a server that has a database."""

    store: KeyStore
    ledger: Ledger
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    workers: WorkerPool = field(default_factory=_workers)

    async def run(self, work: Callable[[], T]) -> T:
        """Run `work` on the database in a thread. Raises InvalidRequest for what the store refuses, and Overloaded."""
        try:
            return await self.workers.run(work)
        except ConfigError as error:
            raise InvalidRequest(str(error)) from error
        except (DatabaseError, TimeoutError) as error:
            log.warning("The keys cannot be read or written: %s", str(error) or "the database is too slow")
            raise Overloaded("The keys cannot be read or written now.", retry_after=_RETRY_AFTER_S) from error

    async def keys(self) -> Sequence[KeyRecord]:
        return await self.run(self.store.list)

    async def key(self, key_id: str) -> KeyRecord:
        """The key with that id. Raises NotFound."""
        found = next((key for key in await self.keys() if key.id == key_id), None)
        if found is None:
            raise NotFound(f"There is no key with the id '{key_id}'. The list of keys has all ids.")
        return found


def admin_of(request: Request) -> Caller:
    """The caller, if it is an admin. Raises Forbidden."""
    caller = Exchange.of(request.scope).caller
    if not caller.is_admin:
        raise Forbidden("Only an admin key may manage keys. Ask the administrator for one.", hint=ADMIN_HINT)
    return caller
