"""Rows of the ledger: an entry as a row, and rows into the database and out of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, Dialect, bindparam, delete, func, insert, select
from sqlalchemy.exc import StatementError

from crossette.accounts.database.daily_usage import add_to_days
from crossette.accounts.database.database import Rejected, first_line, kind_of
from crossette.accounts.database.tables import requests
from crossette.accounts.ledger import Entry
from crossette.accounts.prices import Price
from crossette.errors import StoreError

_COLUMNS = list(requests.columns)
_listed = func.json_each(bindparam("rows")).table_valued("value")
_FROM_LIST = insert(requests).from_select(
    [column.name for column in _COLUMNS],
    select(*(func.json_extract(_listed.c.value, f"$[{place}]") for place in range(len(_COLUMNS)))),
)


def row_of(entry: Entry, prices: Mapping[str, Price]) -> dict[str, Any]:
    """What the database is given for an entry."""
    price, usage = prices.get(entry.model), entry.usage
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
        "cost": price.of(usage) if price else None,
        "client": _clean(entry.client),
        "user": _clean(entry.user),
        "metadata": {_clean(k): _clean(v) for k, v in entry.metadata.items()} if entry.metadata is not None else None,
        "request_content": _clean(entry.request_content) if entry.request_content is not None else None,
        "answer_content": _clean(entry.answer_content) if entry.answer_content is not None else None,
    }


def insert_rows(connection: Connection, rows: Sequence[dict[str, Any]]) -> int:
    """Insert rows that have every column, and add them to their days. Those that are there already are left alone.

    Says how many were inserted.

    SQLite gets them as one JSON list. Given one by one, its driver lets go of the interpreter's lock for each, and
    has to win it back from the thread that sends tokens: 20 rows took up to 200 ms, and slowed every token meanwhile.
    PostgreSQL gets one statement too. SQLAlchemy makes one only where something comes back; else psycopg sends one for
    each row through a pipeline, and a refusal is followed by warnings about the pipeline.
    """
    there = set(connection.scalars(select(requests.c.id).where(requests.c.id.in_([row["id"] for row in rows]))))
    rows = [row for row in rows if row["id"] not in there]
    if not rows:
        return 0
    if connection.dialect.name == "sqlite":
        connection.execute(_FROM_LIST, {"rows": _as_list(rows, connection.dialect)})
    else:
        connection.execute(insert(requests).returning(requests.c.id), rows)
    add_to_days(connection, [row["id"] for row in rows])
    return len(rows)


def insert_each(connection: Connection, rows: Sequence[dict[str, Any]]) -> list[tuple[dict[str, Any], str]]:
    """Insert rows one by one: those that are refused, and why.

    A row is refused for its values, or if the same transaction inserts others: then the fault is its own. Where nothing
    can be inserted the first error is raised.
    """
    num_inserted, refused = 0, []
    for row in rows:
        try:
            with connection.begin_nested():
                num_inserted += insert_rows(connection, [row])
        except StatementError as error:
            if kind_of(error) is StoreError:  # the database is gone
                raise
            refused.append((row, error))
    for _, refusal in refused:
        if not num_inserted and kind_of(refusal) is not Rejected:
            raise refusal
    return [(row, first_line(refusal)) for row, refusal in refused]


def delete_rows(connection: Connection, before: datetime, most: int) -> int:
    """Delete up to `most` rows that are older, and say how many. What they add up to stays."""
    old = select(requests.c.id).where(requests.c.time < before).limit(most)
    return connection.execute(delete(requests).where(requests.c.id.in_(old))).rowcount


def _clean(text: str) -> str:
    """Text that every database takes: PostgreSQL has no NUL, and neither has half a surrogate pair."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def _as_list(rows: Sequence[dict[str, Any]], dialect: Dialect) -> str:
    """A JSON list of lists, each value as SQLAlchemy would bind it."""
    readers = [(column.name, column.type.dialect_impl(dialect).bind_processor(dialect)) for column in _COLUMNS]
    bound = [[read(row[name]) if read else row[name] for name, read in readers] for row in rows]
    return msgspec.json.encode(bound).decode()
