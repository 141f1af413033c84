"""Messages for templates without support for system messages, tool calls or tool results."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

Message = Mapping[str, Any]
"""A message as templates read it: role, content and further fields of the model's template."""


class Arguments(dict[str, Any]):
    """The arguments of a tool call. Some templates read the object, others its JSON text: this is both."""

    __slots__ = ("_text",)

    def __init__(self, values: Mapping[str, Any], text: str | None = None) -> None:
        """`text` is the JSON as it was received."""
        super().__init__(values)
        self._text = text

    @property
    def text(self) -> str:
        """The arguments as JSON."""
        return json.dumps(self, ensure_ascii=False) if self._text is None else self._text

    @property
    def depth(self) -> int:
        """The nesting depth of objects and lists, counted without recursion."""
        depth = 0
        level: list[dict[str, Any] | list[Any]] = [self]
        while level:
            depth += 1
            inner = [value for item in level for value in (item.values() if isinstance(item, dict) else item)]
            level = [value for value in inner if isinstance(value, dict | list)]
        return depth

    def __str__(self) -> str:
        return self.text

    def __add__(self, other: str) -> str:
        return self.text + other

    def __radd__(self, other: str) -> str:
        return other + self.text


def replace_unsupported(messages: Sequence[Message], *, system: bool, tools: bool) -> list[Message]:
    """Rewrite a conversation for a template that does not support system messages, or tools, or both.

    Such a template would leave those messages out, so that the model answers half a conversation, or reject them. So a
    system message becomes the start of the user message, as model cards recommend; a call becomes text of the assistant
    and its result text of the user, in the tags that most models with tools were trained on. Text that becomes a user
    message is joined to the user message that follows: many templates require roles to alternate.
    """
    turns: list[tuple[Message, list[str]]] = []
    separator = None
    for message in messages:
        replaced, next_separator = _replaced(message, system=system, tools=tools)
        if separator is not None and replaced["role"] == "user":
            turns[-1][1].extend((separator, replaced["content"]))
        else:
            turns.append((replaced, []))
        separator = next_separator
    return [{**turn, "content": _joined([turn["content"], *more])} if more else turn for turn, more in turns]


def as_parts(message: Message) -> Message:
    """The message with a list of parts as its content."""
    content = message["content"]
    return {**message, "content": [{"type": "text", "text": content}]} if isinstance(content, str) else message


def _joined(contents: Sequence[str | list[dict[str, Any]]]) -> str | list[dict[str, Any]]:
    """Contents as one: a text if all are texts, else a list of parts."""
    parts: list[dict[str, Any]] = []
    for content in contents:
        if isinstance(content, list):
            parts += content
        elif parts and parts[-1]["type"] == "text":
            parts[-1] = {"type": "text", "text": parts[-1]["text"] + content}
        else:
            parts.append({"type": "text", "text": content})
    return parts if any(isinstance(content, list) for content in contents) else "".join(part["text"] for part in parts)


def with_later_system_as_user(messages: Sequence[Message]) -> Sequence[Message]:
    """Rewrite system messages within a conversation for a template that accepts them only at its start.

    Such a template would leave them out, or reject the conversation. They become text of the user, joined to the user
    messages before and after, as many templates require roles to alternate.
    """
    turns: list[Message] = []
    is_joined = False
    for message in messages:
        is_later = message["role"] == "system" and any(turn["role"] != "system" for turn in turns)
        if is_later:
            message = {"role": "user", "content": message["content"]}
        if (is_later or is_joined) and message["role"] == "user" and turns[-1]["role"] == "user":
            turns[-1] = {**turns[-1], "content": _joined([turns[-1]["content"], "\n\n", message["content"]])}
        else:
            turns.append(message)
        is_joined = is_later
    return turns


def _replaced(message: Message, *, system: bool, tools: bool) -> tuple[Message, str | None]:
    """The rewritten message, and the separator from the user message that follows; None if they are not joined."""
    if system and message["role"] == "system":
        return {"role": "user", "content": message["content"]}, "\n\n"
    if tools and message["role"] == "tool":
        return {"role": "user", "content": f"<tool_response>\n{message['content']}\n</tool_response>"}, "\n"
    if tools and message.get("tool_calls"):
        rest = {name: value for name, value in message.items() if name != "tool_calls"}
        calls = (_call_text(call["function"]) for call in message["tool_calls"])
        return rest | {"content": "\n".join(filter(None, [message["content"], *calls]))}, None
    return message, None


def _call_text(function: Mapping[str, Any]) -> str:
    name = json.dumps(function["name"], ensure_ascii=False)
    return f'<tool_call>\n{{"name": {name}, "arguments": {function["arguments"]}}}\n</tool_call>'


def with_short_ids(messages: Sequence[Message]) -> list[Message]:
    """The conversation with ids of nine letters and digits. Any other id becomes a number."""
    ids: dict[str, str] = {}
    numbered: list[Message] = []
    for message in messages:
        changed = dict(message)
        if message.get("tool_calls"):
            calls = message["tool_calls"]
            ids |= {call["id"]: _short_id(call["id"], len(ids) + position) for position, call in enumerate(calls)}
            changed["tool_calls"] = [{**call, "id": ids[call["id"]]} for call in calls]
        if message.get("tool_call_id") in ids:
            changed["tool_call_id"] = ids[message["tool_call_id"]]
        numbered.append(changed)
    return numbered


def _short_id(call_id: str, number: int) -> str:
    return call_id if len(call_id) == 9 and call_id.isalnum() else f"call{number:05}"
