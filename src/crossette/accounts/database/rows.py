"""Ledger rows: conversion from entries, insertion and deletion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, Dialect, bindparam, delete, func, insert, select
from sqlalchemy.exc import StatementError

from crossette.accounts.database.daily_usage import add_to_days
from crossette.accounts.database.database import ValuesRejected, error_class, error_line
from crossette.accounts.database.tables import requests
from crossette.accounts.ledger import Entry
from crossette.accounts.prices import Price
from crossette.errors import DatabaseError

_COLUMNS = list(requests.columns)
_listed = func.json_each(bindparam("rows")).table_valued("value")
_FROM_LIST = insert(requests).from_select(
    [column.name for column in _COLUMNS],
    select(*(func.json_extract(_listed.c.value, f"$[{index}]") for index in range(len(_COLUMNS)))),
)


def row_of(entry: Entry, prices: Mapping[str, Price], batch_price: float = 1.0) -> dict[str, Any]:
    """Convert an entry to column values. `batch_price` is the share of the price that a request of a batch costs."""
    price, usage = prices.get(entry.model), entry.usage
    share = batch_price if entry.batch_id else 1.0
    return {
        "id": entry.id,
        "request_id": entry.request_id,
        "time": entry.time,
        "key_id": entry.key_id,
        "dialect": entry.dialect,
        "endpoint": entry.endpoint,
        "model": _clean(entry.model),
        "is_served": entry.is_served,
        "status": entry.status,
        "finish_reason": entry.finish_reason,
        "prompt_tokens": usage.prompt_tokens,
        "cached_tokens": usage.cached_tokens,
        "completion_tokens": usage.completion_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "first_token_s": entry.first_token_s,
        "total_s": entry.total_s,
        "cost": share * price.of(usage) if price else None,
        "batch_id": entry.batch_id,
        "client": _clean(entry.client),
        "user": _clean(entry.user),
        "metadata": {_clean(k): _clean(v) for k, v in entry.metadata.items()} if entry.metadata is not None else None,
        "request_content": _clean(entry.request_content) if entry.request_content is not None else None,
        "answer_content": _clean(entry.answer_content) if entry.answer_content is not None else None,
    }


def insert_rows(connection: Connection, rows: Sequence[dict[str, Any]]) -> int:
    """Insert complete rows and add them to the daily totals. Skips existing rows. Returns the number of inserted rows.

    SQLite gets them as one JSON list. With one statement per row its driver releases the GIL each time and competes
    for it with the event loop: 20 rows took up to 200 ms and delayed all streams meanwhile.
    PostgreSQL gets one statement too. SQLAlchemy generates a single one only with RETURNING; otherwise psycopg sends
    one per row through a pipeline, and an error is followed by warnings about the pipeline.
    """
    existing = set(connection.scalars(select(requests.c.id).where(requests.c.id.in_([row["id"] for row in rows]))))
    rows = [row for row in rows if row["id"] not in existing]
    if not rows:
        return 0
    if connection.dialect.name == "sqlite":
        connection.execute(_FROM_LIST, {"rows": _as_list(rows, connection.dialect)})
    else:
        connection.execute(insert(requests).returning(requests.c.id), rows)
    add_to_days(connection, [row["id"] for row in rows])
    return len(rows)


def insert_each(connection: Connection, rows: Sequence[dict[str, Any]]) -> list[tuple[dict[str, Any], str]]:
    """Insert rows one by one. Returns the rejected rows with the reasons.

    A row counts as rejected if its values are invalid or if other rows of the same transaction were inserted. If none
    can be inserted, raises the first error.
    """
    num_inserted, rejected = 0, []
    for row in rows:
        try:
            with connection.begin_nested():
                num_inserted += insert_rows(connection, [row])
        except StatementError as error:
            if error_class(error) is DatabaseError:  # unreachable
                raise
            rejected.append((row, error))
    for _, rejection in rejected:
        if not num_inserted and error_class(rejection) is not ValuesRejected:
            raise rejection
    return [(row, error_line(rejection)) for row, rejection in rejected]


def delete_rows(connection: Connection, before: datetime, most: int) -> int:
    """Delete up to `most` rows older than `before`, and return their number. Daily totals do not change."""
    old = select(requests.c.id).where(requests.c.time < before).limit(most)
    return connection.execute(delete(requests).where(requests.c.id.in_(old))).rowcount


def _clean(text: str) -> str:
    """Replace NUL, which PostgreSQL rejects, and lone surrogates, which both databases reject."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def _as_list(rows: Sequence[dict[str, Any]], dialect: Dialect) -> str:
    """A JSON list of lists, each value as SQLAlchemy would bind it."""
    binders = [(column.name, column.type.dialect_impl(dialect).bind_processor(dialect)) for column in _COLUMNS]
    bound = [[bind(row[name]) if bind else row[name] for name, bind in binders] for row in rows]
    return msgspec.json.encode(bound).decode()
