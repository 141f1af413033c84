"""GET /usage: the usage of keys, for admin keys."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from crossette.accounts.ledger import Ledger, UsageQuery, UsageRow, parse_query
from crossette.api.exchange import Exchange
from crossette.api.http import json_response
from crossette.api.worker_pool import WorkerPool
from crossette.errors import ADMIN_HINT, DatabaseError, Forbidden, InvalidRequest, Overloaded

log = logging.getLogger(__name__)

_RETRY_AFTER_S = 5.0


class UsageReport(msgspec.Struct, kw_only=True):
    object: str = "list"
    data: Sequence[UsageRow]


class UsageReader:
    """Reads the ledger in its own threads, so that a slow database does not delay the encoding of long prompts."""

    def __init__(self, ledger: Ledger, num_threads: int = 2, *, max_waiting: int = 16, timeout_s: float = 60.0) -> None:
        self._ledger = ledger
        self.workers = WorkerPool(
            "usage", num_threads, max_waiting=max_waiting, waits_for="for a usage report", timeout_s=timeout_s
        )

    async def rows(self, query: UsageQuery) -> Sequence[UsageRow]:
        """The rows of a report. Raises DatabaseError, TimeoutError, or Overloaded if the queue is full."""
        return await self.workers.run(lambda: self._ledger.usage(query))


async def report_usage(request: Request, reader: UsageReader) -> Response:
    """Sum the ledger. Raises Forbidden for a key that is not an admin key, Overloaded while it cannot be read."""
    if not Exchange.of(request.scope).caller.is_admin:
        raise Forbidden("Only an admin key may read usage. Ask the administrator for one.", hint=ADMIN_HINT)
    given = request.query_params
    for name in given:
        if name not in ("group_by", "since"):
            raise InvalidRequest(f"Unknown parameter: {name}. Known: group_by, since.", param=name)
    query = parse_query(given.get("group_by"), given.get("since"), datetime.now(UTC))
    try:
        rows = await reader.rows(query)
    except (DatabaseError, TimeoutError) as error:
        log.warning("The usage report failed: %s", str(error) or "the database is too slow")
        raise Overloaded("The ledger cannot be read now.", retry_after=_RETRY_AFTER_S) from error
    return json_response(UsageReport(data=rows))
