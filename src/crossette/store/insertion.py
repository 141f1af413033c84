"""Rows on their way into the ledger's table. One that is there already is left alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Dialect, bindparam, func, select, true
from sqlalchemy.dialects import postgresql, sqlite

from crossette.store.tables import requests

_COLUMNS = list(requests.columns)
_EACH = postgresql.insert(requests).on_conflict_do_nothing()

_listed = func.json_each(bindparam("rows")).table_valued("value")
_fields = (func.json_extract(_listed.c.value, f"$[{place}]") for place in range(len(_COLUMNS)))
_FROM_LIST = (
    sqlite.insert(requests)
    # Without a WHERE, SQLite would read the words of the conflict as those of a join.
    .from_select([column.name for column in _COLUMNS], select(*_fields).where(true()))
    .on_conflict_do_nothing()
)


def insert_rows(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Insert rows that have every column.

    SQLite gets them as one JSON list. Given one by one, its driver lets go of the interpreter's lock for each, and
    has to win it back from the thread that sends tokens: 20 rows took up to 200 ms, and slowed every token meanwhile.
    """
    if connection.dialect.name == "sqlite":
        connection.execute(_FROM_LIST, {"rows": _as_list(rows, connection.dialect)})
    else:
        connection.execute(_EACH, rows)


def _as_list(rows: Sequence[dict[str, Any]], dialect: Dialect) -> str:
    """A JSON list of lists, each value as SQLAlchemy would bind it."""
    readers = [(column.name, column.type.dialect_impl(dialect).bind_processor(dialect)) for column in _COLUMNS]
    bound = [[read(row[name]) if read else row[name] for name, read in readers] for row in rows]
    return msgspec.json.encode(bound).decode()
