"""What the ledger is told of a request that has ended: the one place that makes an `Entry`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol

from starlette.types import Message, Receive, Scope, Send

from crossette.access import ANONYMOUS
from crossette.generation import Answer
from crossette.ledger import NOTHING, Entry

MAX_CONTENT = 2**20
"""Bytes kept of a body, and of an answer."""
MAX_WORD = 200
"""Characters kept of what clients say of themselves."""


class Exchange(Protocol):
    """A request and its response, at their end."""

    @property
    def scope(self) -> Scope: ...
    @property
    def request_id(self) -> str: ...
    @property
    def time(self) -> datetime: ...
    @property
    def status(self) -> int: ...
    @property
    def total_s(self) -> float: ...


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


def entry_of(exchange: Exchange, dialect: str, endpoint: str, content: Content | None) -> Entry:
    """The row of a request; a request that was refused early is known by less."""
    state: Mapping[str, Any] = exchange.scope.get("state", {})
    body, answer = state.get("body"), state.get("answer")
    timings = answer.timings if answer is not None else None
    return Entry(
        id=exchange.scope["crossette.ids"].answer,
        request_id=exchange.request_id,
        time=exchange.time,
        key_id=state.get("caller", ANONYMOUS).id,
        dialect=dialect,
        endpoint=endpoint,
        model=state.get("model") or (body.model[:MAX_WORD] if body is not None else ""),
        status=exchange.status,
        total_s=exchange.total_s,
        first_token_s=timings.first_token - timings.begun if timings and timings.first_token is not None else None,
        finish_reason=_finish_reason(answer, exchange.status) if answer is not None else None,
        usage=answer.usage if answer is not None else NOTHING,
        client=_user_agent(exchange.scope),
        user=(body.user or body.safety_identifier or "")[:MAX_WORD] if body is not None else "",
        metadata=body.metadata
        if body is not None and "model" in state
        else None,  # else nobody has looked at how large it is
        request_content=content.request if content is not None else None,
        answer_content=content.answer if content is not None else None,
    )


def _finish_reason(answer: Answer, status: int) -> str | None:
    """Each reason once, in the order of the choices; `error` for an answer that broke after its status was sent."""
    if answer.num_open and status == 200:
        return "error"
    return (
        ",".join(dict.fromkeys(str(choice.finish_reason) for choice in answer.choices if choice.finish_reason)) or None
    )


def _user_agent(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"user-agent":
            text: str = value.decode("latin-1")
            return text[:MAX_WORD]
    return ""
