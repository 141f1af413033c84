"""What the ledger is told of a request that has ended: the one place that makes an `Entry`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from starlette.types import Message, Receive, Scope, Send

from crossette.access import ANONYMOUS
from crossette.ledger import NOTHING, Entry
from crossette.record import RequestRecord

MAX_CONTENT = 2**20
"""Bytes kept of a body, and of an answer."""
MAX_WORD = 200
"""Characters kept of what clients say of themselves."""


class Content:
    """What a request and its answer said, as it went over the wire, up to a bound."""

    def __init__(self) -> None:
        self._request = bytearray()
        self._answer = bytearray()

    @property
    def request(self) -> str:
        return _text(self._request)

    @property
    def answer(self) -> str:
        return _text(self._answer)

    def receiving(self, receive: Receive) -> Receive:
        async def kept() -> Message:
            message = await receive()
            _keep(self._request, message.get("body", b""))
            return message

        return kept

    def sending(self, send: Send) -> Send:
        async def kept(message: Message) -> None:
            _keep(self._answer, message.get("body", b""))
            await send(message)

        return kept


def _keep(kept: bytearray, data: bytes) -> None:
    kept += data[: MAX_CONTENT - len(kept)]


def _text(kept: bytearray) -> str:
    return kept.decode("utf-8", "replace")


def entry_of(
    record: RequestRecord,
    dialect: str,
    endpoint: str,
    scope: Scope,
    content: Content | None,
    served: str | None = None,
) -> Entry:
    """The row of a request; one that was refused early is known by less.

    `served` is the model that the name in its body means, if there is one.
    """
    state: Mapping[str, Any] = scope.get("state", {})
    body, work = state.get("body"), record.work
    served = state.get("model") or served
    is_checked = "model" in state  # else nobody has looked at how large its metadata is
    return Entry(
        id=scope["crossette.ids"].answer,
        request_id=record.id,
        time=datetime.fromtimestamp(record.begun_at, UTC),
        key_id=state.get("caller", ANONYMOUS).id,
        dialect=dialect,
        endpoint=endpoint,
        model=served or record.model_asked[:MAX_WORD],
        is_served=bool(served),
        status=record.status,
        total_s=record.seconds,
        first_token_s=work.time_to_first_token_s if work is not None else None,
        finish_reason=_finish_reason(record),
        usage=work.usage if work is not None else NOTHING,
        client=_user_agent(scope),
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


def _user_agent(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"user-agent":
            text: str = value.decode("latin-1")
            return text[:MAX_WORD]
    return ""
