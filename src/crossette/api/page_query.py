"""The query parameters of lists: limit, after and order."""

from __future__ import annotations

from collections.abc import Collection

from starlette.requests import Request

from crossette.accounts.files import PageQuery
from crossette.errors import InvalidRequest, invalid_value

_ORDERS = ("asc", "desc")


def page_query(
    request: Request, *, default_limit: int, max_limit: int, others: Collection[str] = (), can_order: bool = False
) -> PageQuery:
    """The part of a list that a request asks for. `others` are further parameters. Raises InvalidRequest."""
    given = request.query_params
    known = ["limit", "after", *(["order"] if can_order else []), *others]
    for name in given:
        if name not in known:
            raise InvalidRequest(f"Unknown parameter: {name[:40]}. Known: {', '.join(known)}.", param=name[:40])
    order = given.get("order", "desc")
    if order not in _ORDERS:
        raise invalid_value("order", _ORDERS, repr(order[:40]))
    return PageQuery(_limit(given.get("limit"), default_limit, max_limit), given.get("after"), order == "desc")


def _limit(text: str | None, default: int, most: int) -> int:
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 9 and 1 <= int(text) <= most):
        raise InvalidRequest(f"limit must be an integer from 1 to {most}, not {text[:40]!r}.", param="limit")
    return int(text)
