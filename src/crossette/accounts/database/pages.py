"""Lists of a key's records, one page at a time."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, Table, and_, or_, select

from crossette.accounts.files import Page, PageQuery
from crossette.errors import NotFound


def read_page(
    connection: Connection, table: Table, key_id: str, query: PageQuery, *conditions: ColumnElement[bool]
) -> Page[RowMapping]:
    """The rows of a key, by creation time and id. Raises NotFound if `after` is not a row of the key."""
    created, row_id = table.c.created_at, table.c.id
    statement = select(table).where(table.c.key_id == key_id, *conditions)
    if query.after is not None:
        last = connection.execute(
            select(created, row_id).where(row_id == query.after, table.c.key_id == key_id)
        ).first()
        if last is None:
            raise NotFound(f"No such object: '{query.after}'.", param="after")
        statement = statement.where(_follows(created, last[0], row_id, last[1], newest_first=query.newest_first))
    order = (created.desc(), row_id.desc()) if query.newest_first else (created, row_id)
    rows = connection.execute(statement.order_by(*order).limit(query.limit + 1)).mappings().all()
    return Page(rows[: query.limit], has_more=len(rows) > query.limit)


def _follows(
    created: ColumnElement[Any], moment: Any, row_id: ColumnElement[Any], last_id: str, *, newest_first: bool
) -> ColumnElement[bool]:
    if newest_first:
        return or_(created < moment, and_(created == moment, row_id < last_id))
    return or_(created > moment, and_(created == moment, row_id > last_id))
