"""Turns that not every template knows: system messages, tool calls and their results."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

Message = Mapping[str, Any]
"""A message as templates know it: role, content and what else the model's template reads."""


class Arguments(dict[str, Any]):
    """What a tool is called with. Some templates want the object, others join its JSON to a text: it is both."""

    __slots__ = ("_text",)

    def __init__(self, values: Mapping[str, Any], text: str | None = None) -> None:
        """`text` is the JSON as it was spelled."""
        super().__init__(values)
        self._text = text

    @property
    def text(self) -> str:
        return json.dumps(self, ensure_ascii=False) if self._text is None else self._text

    @property
    def depth(self) -> int:
        """How many objects and lists stand in one another, counted without recursion."""
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


def in_plain_words(messages: Sequence[Message], *, system: bool, tools: bool) -> list[Message]:
    """The conversation for a template that does not know system messages, or tools, or both.

    Such a template would leave the turns out, and the model answer half a conversation, or refuse them. So a system
    message opens the user's turn, as makers of such models advise; a call is said by the assistant and its result by
    the user, in the tags that most models with tools were trained on. What becomes the user's joins the user's
    words that follow: many templates want roles to alternate.
    """
    turns: list[tuple[Message, list[str]]] = []
    gap = None
    for message in messages:
        said, next_gap = _in_plain_words(message, system=system, tools=tools)
        if gap is not None and said["role"] == "user":
            turns[-1][1].extend((gap, said["content"]))
        else:
            turns.append((said, []))
        gap = next_gap
    return [{**said, "content": "".join([said["content"], *more])} if more else said for said, more in turns]


def _in_plain_words(message: Message, *, system: bool, tools: bool) -> tuple[Message, str | None]:
    """The message as said, and what stands between it and the user's words that follow, if they are to join."""
    if system and message["role"] == "system":
        return {"role": "user", "content": message["content"]}, "\n\n"
    if tools and message["role"] == "tool":
        return {"role": "user", "content": f"<tool_response>\n{message['content']}\n</tool_response>"}, "\n"
    if tools and message.get("tool_calls"):
        said = {name: value for name, value in message.items() if name != "tool_calls"}
        calls = (_call_as_words(call["function"]) for call in message["tool_calls"])
        return said | {"content": "\n".join(filter(None, [message["content"], *calls]))}, None
    return message, None


def _call_as_words(function: Mapping[str, Any]) -> str:
    name = json.dumps(function["name"], ensure_ascii=False)
    return f'<tool_call>\n{{"name": {name}, "arguments": {function["arguments"]}}}\n</tool_call>'


def with_short_ids(messages: Sequence[Message]) -> list[Message]:
    """The conversation with ids of nine letters and digits: calls with any other are numbered."""
    ids: dict[str, str] = {}
    numbered: list[Message] = []
    for message in messages:
        changed = dict(message)
        if message.get("tool_calls"):
            calls = message["tool_calls"]
            ids |= {call["id"]: _short_id(call["id"], len(ids) + place) for place, call in enumerate(calls)}
            changed["tool_calls"] = [{**call, "id": ids[call["id"]]} for call in calls]
        if message.get("tool_call_id") in ids:
            changed["tool_call_id"] = ids[message["tool_call_id"]]
        numbered.append(changed)
    return numbered


def _short_id(call_id: str, number: int) -> str:
    return call_id if len(call_id) == 9 and call_id.isalnum() else f"call{number:05}"
