"""Daily usage totals by key and model, so that queries are fast and old ledger rows can be deleted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Select,
    case,
    func,
    literal_column,
    null,
    or_,
    select,
    union_all,
)
from sqlalchemy.dialects import postgresql, sqlite

from crossette.accounts.database.tables import days, keys, requests
from crossette.accounts.ledger import UsageQuery, UsageRow

_GROUPS = ("day", "key_id", "model")
_TOKENS = ("prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens")
_COUNTS = ("requests", "errors", *_TOKENS)
_LAST_DAY = datetime(9999, 12, 30, tzinfo=UTC)
"""The last day that has a next day in `datetime`."""
_NAMES = {"key": "key_id", "model": "model", "day": "day"}


def add_to_days(connection: Connection, ids: Sequence[str]) -> None:
    """Add newly inserted rows to the daily totals."""
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    # All servers lock the days in the same order, which prevents deadlocks.
    added = _by_day(connection, requests.c.id.in_(ids)).order_by(*_GROUPS)
    statement = insert(days).from_select([*_GROUPS, *_COUNTS, "cost"], added)
    new = statement.excluded
    sums: dict[str, Any] = {name: days.c[name] + new[name] for name in _COUNTS}
    # The cost is NULL without prices, and NULL + number is NULL in SQL.
    sums["cost"] = func.coalesce(days.c.cost + new.cost, days.c.cost, new.cost)
    connection.execute(statement.on_conflict_do_update(index_elements=_GROUPS, set_=sums))


def used_tokens(connection: Connection) -> dict[str, int]:
    """Prompt and completion tokens of each key over its lifetime."""
    total = func.sum(days.c.prompt_tokens + days.c.completion_tokens)
    rows = connection.execute(select(days.c.key_id, total).group_by(days.c.key_id))
    return {key_id: int(tokens) for key_id, tokens in rows}


def usage_rows(connection: Connection, query: UsageQuery) -> Sequence[UsageRow]:
    """Usage totals, ordered by group.

    For a partial day after `since` the totals are computed from its rows, as far as they were not deleted.
    """
    source = _since(connection, query.since) if query.since else days
    groups = [source.c[_NAMES[name]] for name in query.group_by]
    named = {
        name: (source.c[column] if name in query.group_by else null()).label(name) for name, column in _NAMES.items()
    }
    sums = (func.sum(source.c[name]).label(name) for name in (*_COUNTS, "cost"))
    found = connection.execute(select(*named.values(), *sums).group_by(*groups).order_by(*groups)).mappings()
    names = {row.id: row.name for row in connection.execute(select(keys.c.id, keys.c.name))}
    return [UsageRow(**_numbers(row), key_name=names.get(row["key"])) for row in found]


def _since(connection: Connection, moment: datetime) -> FromClause:
    """The daily totals after `moment`, with the rest of its own day computed from rows."""
    midnight = moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if moment > midnight:
        midnight = min(midnight, _LAST_DAY) + timedelta(days=1)
    part = _by_day(connection, requests.c.time >= moment, requests.c.time < midnight)
    return union_all(part, select(days).where(days.c.day >= midnight.date().isoformat())).subquery()


def _by_day(connection: Connection, *conditions: ColumnElement[bool]) -> Select[Any]:
    """Aggregate rows into the columns of `days`."""
    day: ColumnElement[str] = func.date(requests.c.time)
    if connection.dialect.name == "postgresql":  # date formatting depends on the settings of the role and the database
        day = func.to_char(requests.c.time, literal_column("'YYYY-MM-DD'"))
    failed = or_(
        requests.c.status < 200, requests.c.status >= 400, func.coalesce(requests.c.finish_reason, "") == "error"
    )
    model = case((requests.c.is_served, requests.c.model), else_="")  # unknown names from clients are unbounded
    groups = (day, requests.c.key_id, model)
    return (
        select(
            day.label("day"),
            requests.c.key_id,
            model.label("model"),
            func.count().label("requests"),
            func.sum(case((failed, 1), else_=0)).label("errors"),
            *(func.sum(requests.c[name]).label(name) for name in (*_TOKENS, "cost")),
        )
        .where(*conditions)
        .group_by(*groups)
    )


def _numbers(row: Mapping[Any, Any]) -> dict[str, Any]:
    """Convert counts to int: PostgreSQL returns sums of integers as decimals."""
    return {**row, **{name: int(row[name]) for name in _COUNTS}}
