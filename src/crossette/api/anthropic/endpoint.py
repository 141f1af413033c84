"""POST /messages and POST /messages/count_tokens: Anthropic's Messages API."""

from __future__ import annotations

from functools import lru_cache

from starlette.requests import Request
from starlette.responses import Response

from crossette.api import chat
from crossette.api.anthropic.answer import TokenCount
from crossette.api.anthropic.chat_body import chat_body, counted_body, name_of
from crossette.api.anthropic.reply import MessagesReply
from crossette.api.anthropic.request import CountTokensRequest, MessagesRequest
from crossette.api.anthropic.wire import ANTHROPIC
from crossette.api.count_tokens import count_tokens
from crossette.api.dialect import Dialect
from crossette.api.endpoint import Call, Endpoint
from crossette.api.http import json_response
from crossette.api.request_body import read_json
from crossette.api.schema.chat import ChatRequest
from crossette.api.schema.reasoning import ThinkingSent
from crossette.api.services import Services
from crossette.engine import Engine
from crossette.text.reasoning import Reasoning, reasoning_of

_LOW, _MEDIUM = 5000, 10_000
"""Budgets below these are the efforts `low` and `medium` of a model that has no budget, as on Fireworks."""
_HIGHEST = _DEFAULT = "high"


async def prepare(body: ChatRequest, engine: Engine, dialect: Dialect) -> Call:
    """Prepare a request as a chat's, with what depends on its model."""
    body.context_length_exceeded_behavior = "truncate"
    _fit_effort(body, _reasoning(engine.info.chat_template or ""))
    return await chat.prepare(body, engine, dialect)


_reasoning = lru_cache(maxsize=32)(reasoning_of)


def _fit_effort(body: ChatRequest, reasoning: Reasoning | None) -> None:
    """Express a budget, or an effort above the highest one, in the efforts of the model, if it has any.

    Anthropic's default effort is `high`, and clients send it with every request: a model that does not reason has it.
    """
    if reasoning is None and body.reasoning_effort == _DEFAULT:
        body.reasoning_effort = None
    efforts = reasoning.efforts if reasoning is not None else ()
    if efforts and isinstance(body.thinking, ThinkingSent) and body.thinking.budget_tokens is not None:
        budget = body.thinking.budget_tokens
        body.reasoning_effort = "low" if budget < _LOW else "medium" if budget < _MEDIUM else _HIGHEST
        body.thinking = None
    if efforts and body.reasoning_effort in ("xhigh", "max") and body.reasoning_effort not in efforts:
        body.reasoning_effort = _HIGHEST


MESSAGES = Endpoint("/messages", MessagesRequest, chat_body, prepare, MessagesReply, ANTHROPIC, name_of)


async def count_message_tokens(request: Request, services: Services, dialect: Dialect) -> Response:
    """The number of tokens that the prompt of a message has. Nothing is generated."""
    sent = await read_json(request, CountTokensRequest, services.settings)
    with MESSAGES.naming():
        body = counted_body(sent, dialect)
        return json_response(TokenCount(await count_tokens(request, body, prepare, services, dialect)))
