"""What the ledger is told of a request that has ended: the one place that makes an `Entry`."""

from __future__ import annotations

from datetime import UTC, datetime

from crossette.accounts.ledger import NO_USAGE, Entry
from crossette.api.exchange import Exchange
from crossette.api.request_record import MAX_WORD
from crossette.observability.record import RequestRecord


def entry_of(
    exchange: Exchange, record: RequestRecord, dialect: str, endpoint: str, served: str | None = None
) -> Entry:
    """The row of a request; one that was refused early is known by less.

    `served` is the model that the name in its body means, if there is one.
    """
    body, work, content = exchange.body, record.work, exchange.content
    served = exchange.model or served
    is_checked = bool(exchange.model)  # else nobody has looked at how large its metadata is
    return Entry(
        id=exchange.answer_id,
        request_id=record.id,
        time=datetime.fromtimestamp(record.begun_at, UTC),
        key_id=record.key_id,
        dialect=dialect,
        endpoint=endpoint,
        model=served or record.model_asked[:MAX_WORD],
        is_served=bool(served),
        status=record.status,
        total_s=record.seconds,
        first_token_s=work.time_to_first_token_s if work is not None else None,
        finish_reason=_finish_reason(record),
        usage=work.usage if work is not None else NO_USAGE,
        client=exchange.headers.get("user-agent", "")[:MAX_WORD],
        user=(body.user or body.safety_identifier or "")[:MAX_WORD] if body is not None else "",
        metadata=body.metadata if body is not None and is_checked else None,
        request_content=content.request if content is not None else None,
        answer_content=content.answer if content is not None else None,
    )


def _finish_reason(record: RequestRecord) -> str | None:
    """Each reason once, as they were told; `error` for an answer that broke, or was cut, after its status was sent."""
    if record.work is None:
        return None
    if record.status == 200 and (record.error or record.work.ended_s is None):
        return "error"
    return ",".join(dict.fromkeys(record.work.finish_reasons)) or None
