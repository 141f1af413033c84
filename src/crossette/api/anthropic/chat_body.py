"""A request for /messages as one for /chat/completions, and the names of its fields."""

from __future__ import annotations

import re

from crossette.api.anthropic.conversation import chat_messages
from crossette.api.anthropic.request import CountTokensRequest, MessagesRequest
from crossette.api.dialect import Dialect
from crossette.api.schema.chat import ChatRequest
from crossette.api.schema.reasoning import ThinkingSent
from crossette.api.schema.response_format import ResponseFormat

_NAMES = tuple(
    (re.compile(pattern), name)
    for pattern, name in (
        (r"^tools\[(\d+)\]\.function\.parameters", r"tools[\1].input_schema"),
        (r"^tools\[(\d+)\]\.function", r"tools[\1]"),
        (r"^response_format\.json_schema\.schema", "output_config.format.schema"),
        (r"^response_format(\.json_schema)?", "output_config.format"),
        (r"^reasoning_effort$", "output_config.effort"),
        (r"^parallel_tool_calls$", "tool_choice.disable_parallel_tool_use"),
        (r"^continue_final_message$", "a last message of role assistant"),
        (r"^stop\b", "stop_sequences"),
        (r"^user$", "metadata.user_id"),
        (r"^(messages\[.*)\.image_url(\.url)?$", r"\1.source"),
    )
)
"""Paths in a body for chat, and what they are called here. All others have the same name."""


def name_of(path: str) -> str:
    """The path of a field in a request for /messages, from its path in the body for chat."""
    for pattern, name in _NAMES:
        if pattern.match(path):
            return pattern.sub(name, path)
    return path


def counted_body(sent: CountTokensRequest, dialect: Dialect) -> ChatRequest:
    """The body for chat with the same prompt. Raises InvalidRequest, naming the invalid field."""
    sent.check(dialect)
    body = ChatRequest(
        model=sent.model,
        messages=chat_messages(sent),
        continue_final_message=True if sent.is_prefilled else None,
        cache_control=sent.cache_control,
        include_stop_str_in_output=False,
    )
    if sent.tools:
        body.tools = [tool.for_chat(f"tools[{index}].") for index, tool in enumerate(sent.tools)]
    if sent.tool_choice is not None:
        body.tool_choice = sent.tool_choice.for_chat()
        if sent.tool_choice.disable_parallel_tool_use:
            body.parallel_tool_calls = False
    _set_reasoning(body, sent)
    if sent.output_config is not None and sent.output_config.format is not None:
        wrapped = {"name": "answer", "schema": sent.output_config.format.schema}
        body.response_format = ResponseFormat(type="json_schema", json_schema=wrapped)
    return body


def chat_body(sent: MessagesRequest, dialect: Dialect) -> ChatRequest:
    """The body for chat. Raises InvalidRequest, naming the invalid field."""
    body = counted_body(sent, dialect)
    body.max_tokens = sent.max_tokens
    body.stop = sent.stop_sequences
    body.stream = sent.stream
    body.temperature, body.top_p, body.top_k = sent.temperature, sent.top_p, sent.top_k
    body.user = sent.user_id
    body.raw_output = sent.raw_output
    return body


def _set_reasoning(body: ChatRequest, sent: CountTokensRequest) -> None:
    """An effort outranks a budget; `adaptive`, and no thinking, is what the model does by default."""
    effort = sent.output_config.effort if sent.output_config is not None else None
    if sent.thinking is not None and sent.thinking.type == "disabled":
        body.reasoning_effort = "none"
    elif effort is not None:
        body.reasoning_effort = effort
    elif sent.thinking is not None and sent.thinking.budget_tokens is not None:
        body.thinking = ThinkingSent(type="enabled", budget_tokens=sent.thinking.budget_tokens)
