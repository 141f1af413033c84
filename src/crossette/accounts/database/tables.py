"""The tables: keys, one row per request, daily totals, stored responses, files, batches, and what replicas share.

Migrations produce exactly these tables (tests/accounts/database/test_database.py).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    true,
)
from sqlalchemy.types import TypeDecorator

metadata = MetaData()

REVISION = "7"
"""The newest of migrations/versions/: after it a database has these tables."""


class Moment(TypeDecorator[datetime]):
    """A time in UTC, stored without time zone, which both databases compare and group by day alike."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value.astimezone(UTC).replace(tzinfo=None) if value is not None else None

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:
        return value.replace(tzinfo=UTC) if value is not None else None


keys = Table(
    "keys",
    metadata,
    Column("id", String, primary_key=True),
    Column("name", String, nullable=False),
    Column("version", Integer, nullable=False),  # incremented by every change
    Column("hash", String, nullable=False),
    Column("previous_hash", String),
    Column("previous_until", Moment),
    Column("created_at", Moment, nullable=False),
    Column("expires_at", Moment),
    Column("revoked_at", Moment),
    Column("is_admin", Boolean, nullable=False),
    Column("models", JSON(none_as_null=True)),
    Column("limits", JSON, nullable=False),
    Index("keys_name", "name"),
)

key_changes = Table(
    "key_changes",
    metadata,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("key_id", String, nullable=False),
    Column("token", String, nullable=False),  # random: a replaced database has others
)

requests = Table(
    "requests",
    metadata,
    Column("id", String, primary_key=True),
    Column("request_id", String, nullable=False),
    Column("time", Moment, nullable=False),
    Column("key_id", String, nullable=False),
    Column("dialect", String, nullable=False),
    Column("endpoint", String, nullable=False),
    Column("model", String, nullable=False),
    Column("is_served", Boolean, nullable=False, server_default=true()),  # false if no such model is served
    Column("status", Integer, nullable=False),
    Column("finish_reason", String),
    Column("prompt_tokens", Integer, nullable=False),
    Column("cached_tokens", Integer, nullable=False),
    Column("completion_tokens", Integer, nullable=False),
    Column("reasoning_tokens", Integer, nullable=False),
    Column("first_token_s", Float),
    Column("total_s", Float, nullable=False),
    Column("cost", Float),
    Column("batch_id", String, nullable=False, server_default=""),  # empty for a live request
    Column("client", String, nullable=False),
    Column("user", String, nullable=False),
    Column("metadata", JSON(none_as_null=True)),
    Column("request_content", Text),
    Column("answer_content", Text),
    Index("requests_time", "time"),
)

days = Table(
    "days",
    metadata,
    Column("day", String, primary_key=True),  # in UTC: 2026-11-23
    Column("key_id", String, primary_key=True),
    Column("model", String, primary_key=True),
    Column("requests", BigInteger, nullable=False),
    Column("errors", BigInteger, nullable=False),
    Column("prompt_tokens", BigInteger, nullable=False),
    Column("cached_tokens", BigInteger, nullable=False),
    Column("completion_tokens", BigInteger, nullable=False),
    Column("reasoning_tokens", BigInteger, nullable=False),
    Column("cost", Float),
)

responses = Table(
    "responses",
    metadata,
    Column("id", String, primary_key=True),
    Column("key_id", String, nullable=False),
    Column("previous_id", String),
    Column("created_at", Moment, nullable=False),
    Column("expires_at", Moment, nullable=False),
    Column("alive_until", Moment),  # of one that is not finished, unless the server says so again
    Column("input", Text, nullable=False),  # JSON
    Column("response", Text, nullable=False),  # JSON
    Index("responses_owner", "key_id", "created_at"),
    Index("responses_expiry", "expires_at"),
)

files = Table(
    "files",
    metadata,
    Column("id", String, primary_key=True),
    Column("key_id", String, nullable=False),
    Column("purpose", String, nullable=False),
    Column("filename", String, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("expires_at", Moment, nullable=False),
    Column("is_complete", Boolean, nullable=False),  # false until all parts are written
    Index("files_owner", "key_id", "created_at"),
)

file_parts = Table(
    "file_parts",
    metadata,
    Column("file_id", String, primary_key=True),
    Column("number", Integer, primary_key=True),  # in the results of a batch, the line's number in the input file
    Column("data", LargeBinary, nullable=False),
)

_TIMES = ("in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled")

batches = Table(
    "batches",
    metadata,
    Column("id", String, primary_key=True),
    Column("key_id", String, nullable=False),
    Column("endpoint", String, nullable=False),
    Column("input_file_id", String, nullable=False),
    Column("completion_window", String, nullable=False),
    Column("metadata", JSON(none_as_null=True)),
    Column("output_keep_s", Integer),
    Column("status", String, nullable=False),
    Column("errors", JSON(none_as_null=True)),
    Column("model", String),
    Column("output_file_id", String, nullable=False),
    Column("error_file_id", String, nullable=False),
    Column("total", Integer, nullable=False),
    Column("completed", Integer, nullable=False),
    Column("failed", Integer, nullable=False),
    Column("output_bytes", BigInteger, nullable=False),
    Column("error_bytes", BigInteger, nullable=False),
    Column("prompt_tokens", BigInteger, nullable=False),
    Column("cached_tokens", BigInteger, nullable=False),
    Column("completion_tokens", BigInteger, nullable=False),
    Column("reasoning_tokens", BigInteger, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("expires_at", Moment, nullable=False),
    *(Column(f"{name}_at", Moment) for name in _TIMES),
    Column("runner", String),  # the server that works on it, until lease_until
    Column("lease_until", Moment),
    Index("batches_owner", "key_id", "created_at"),
    Index("batches_status", "status"),
)

replicas = Table(
    "replicas",
    metadata,
    Column("id", String, primary_key=True),
    Column("name", String, nullable=False),
    Column("started_at", Moment, nullable=False),
    Column("seen_at", Moment, nullable=False),
    Column("state", JSON, nullable=False),
)

accounts = Table(
    "accounts",
    metadata,
    Column("key_id", String, primary_key=True),
    # How full each limit per minute was at updated_at: 1 is all of it, less than 0 is a debt.
    Column("requests", Float, nullable=False),
    Column("prompt_tokens", Float, nullable=False),
    Column("cached_tokens", Float, nullable=False),
    Column("generated_tokens", Float, nullable=False),
    Column("mean_cached", Float, nullable=False),
    Column("mean_generated", Float, nullable=False),
    Column("mean_seconds", Float, nullable=False),
    Column("used_tokens", BigInteger, nullable=False),
    Column("updated_at", Moment, nullable=False),
)

leases = Table(
    "leases",
    metadata,
    Column("id", String, primary_key=True),
    Column("key_id", String, nullable=False),
    Column("replica", String, nullable=False),  # counts while this one lives
    Column("begun_at", Moment, nullable=False),
    Column("prompt_tokens", BigInteger, nullable=False),
    Column("cached_deposit", Float, nullable=False),
    Column("generated_deposit", Float, nullable=False),
    Column("reserved_tokens", BigInteger, nullable=False),
    Index("leases_key", "key_id"),
    Index("leases_replica", "replica"),
)
