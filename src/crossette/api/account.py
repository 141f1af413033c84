"""Ledger entries of finished requests: the only code that creates an `Entry`."""

from __future__ import annotations

from datetime import UTC, datetime

from crossette.accounts.ledger import NO_USAGE, Entry
from crossette.api.exchange import Exchange
from crossette.api.request_record import MAX_CLIENT_TEXT
from crossette.observability.record import RequestRecord


def entry_of(
    exchange: Exchange, record: RequestRecord, dialect: str, endpoint: str, served: str | None = None
) -> Entry:
    """The ledger entry of a request. Fields are empty if the request was rejected before they were known.

    `served` is the model that the name in the request's body resolves to, if any.
    """
    body, work, content = exchange.body, record.work, exchange.content
    served = exchange.model or served
    is_checked = bool(exchange.model)  # else the size of its metadata is unchecked
    return Entry(
        id=exchange.answer_id,
        request_id=record.id,
        time=datetime.fromtimestamp(record.begun_at, UTC),
        key_id=record.key_id,
        dialect=dialect,
        endpoint=endpoint,
        model=served or record.model_asked[:MAX_CLIENT_TEXT],
        is_served=bool(served),
        batch_id=exchange.batch_id,
        status=record.status,
        total_s=record.seconds,
        first_token_s=work.time_to_first_token_s if work is not None else None,
        finish_reason=_finish_reason(record),
        usage=work.usage if work is not None else NO_USAGE,
        client=exchange.headers.get("user-agent", "")[:MAX_CLIENT_TEXT],
        user=(body.user or body.safety_identifier or "")[:MAX_CLIENT_TEXT] if body is not None else "",
        metadata=body.metadata if body is not None and is_checked else None,
        request_content=content.request if content is not None else None,
        answer_content=content.answer if content is not None else None,
    )


def _finish_reason(record: RequestRecord) -> str | None:
    """The distinct finish reasons as sent; `error` for an answer that failed or was cut off after its status."""
    if record.work is None:
        return None
    if record.status == 200 and (record.error or record.work.ended_s is None):
        return "error"
    return ",".join(dict.fromkeys(record.work.finish_reasons)) or None
