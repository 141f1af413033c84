"""The servers that share a database, as their heartbeats say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, select

from crossette.accounts.database.tables import replicas

_LIVES_S = 10.0
"""As in the functions of `migrations/versions/shared_limits.py`."""


@dataclass(frozen=True, slots=True)
class ReplicaRow:
    """A server, with the state of its last heartbeat."""

    name: str
    seen_s: float
    """Seconds since its last heartbeat."""
    up_s: float
    """Seconds since its first one."""
    status: str
    """`ok`, `draining`, or `lost` if its heartbeats have ended."""
    version: str
    running: int
    waiting: int
    kv_blocks: int
    kv_blocks_used: int
    prompt_tokens: int
    generated_tokens: int
    """Tokens since its start."""


def replica_rows(connection: Connection) -> Sequence[ReplicaRow]:
    """All servers of the last hour, by name. None with SQLite, which one server uses alone."""
    if connection.dialect.name != "postgresql":
        return []
    now = func.timezone("utc", func.clock_timestamp())
    ages = (func.extract("epoch", now - time) for time in (replicas.c.seen_at, replicas.c.started_at))
    query = select(replicas.c.name, replicas.c.state, *ages).order_by(replicas.c.name, replicas.c.id)
    return [_row(*row) for row in connection.execute(query)]


def _row(name: str, state: dict[str, Any], seen_s: Any, up_s: Any) -> ReplicaRow:
    counts = {field: int(state.get(field, 0)) for field in _COUNTS}
    status = "lost" if seen_s > _LIVES_S else str(state.get("status", "ok"))
    return ReplicaRow(
        name, round(float(seen_s), 1), round(float(up_s)), status, str(state.get("version", "")), **counts
    )


_COUNTS = ("running", "waiting", "kv_blocks", "kv_blocks_used", "prompt_tokens", "generated_tokens")
