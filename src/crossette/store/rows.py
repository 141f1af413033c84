"""An entry of the ledger as a row, and rows added up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, String, case, cast, func, null, or_, select

from crossette.ledger import Entry, UsageQuery, UsageRow
from crossette.store.prices import Price
from crossette.store.tables import keys, requests


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


def _clean(text: str) -> str:
    """Text that every database takes: PostgreSQL has no NUL, and neither has half a surrogate pair."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def used_tokens(connection: Connection) -> dict[str, int]:
    """Prompt and completion tokens of each key."""
    total = func.sum(requests.c.prompt_tokens + requests.c.completion_tokens)
    rows = connection.execute(select(requests.c.key_id, total).group_by(requests.c.key_id))
    return {key_id: int(tokens) for key_id, tokens in rows}


def usage_rows(connection: Connection, query: UsageQuery) -> Sequence[UsageRow]:
    """Rows added up, in the order of their groups."""
    columns: dict[str, ColumnElement[Any]] = {
        "key": requests.c.key_id,
        "model": requests.c.model,
        # PostgreSQL gives a date, SQLite a text.
        "day": cast(func.date(requests.c.time), String),
    }
    groups = [columns[name] for name in query.group_by]
    named = {name: (column if name in query.group_by else null()).label(name) for name, column in columns.items()}
    sums = ("prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens", "cost")
    failed = or_(
        requests.c.status < 200, requests.c.status >= 400, func.coalesce(requests.c.finish_reason, "") == "error"
    )
    asked = select(
        *named.values(),
        func.count().label("requests"),
        func.sum(case((failed, 1), else_=0)).label("errors"),
        *(func.sum(requests.c[name]).label(name) for name in sums),
    )
    if query.since is not None:
        asked = asked.where(requests.c.time >= query.since)
    found = connection.execute(asked.group_by(*groups).order_by(*groups)).mappings()
    names = {row.id: row.name for row in connection.execute(select(keys.c.id, keys.c.name))}
    return [UsageRow(**_numbers(row), key_name=names.get(row["key"])) for row in found]


def _numbers(row: Mapping[Any, Any]) -> dict[str, Any]:
    """PostgreSQL's sums of whole numbers are decimals."""
    whole = ("requests", "errors", "prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens")
    return {**row, **{name: int(row[name]) for name in whole}}
