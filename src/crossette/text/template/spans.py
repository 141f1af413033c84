"""Spans of a prompt: template markup and user strings, separated by delimiters that pass through the template."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from crossette.errors import InvalidRequest
from crossette.text.template.messages import Arguments, Message

_COMPARED = ("role", "type")
"""Keys whose values templates compare. The values come from fixed lists, never from a user."""
_IDS = ("id", "tool_call_id")
_REASONING_END = "</think>"


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of a prompt: markup of the template, or text from the request."""

    text: str
    is_markup: bool


@dataclass(frozen=True, slots=True)
class Delimiters:
    """Two characters that mark where a user string begins and ends."""

    begin: str
    end: str

    @classmethod
    def unused_in(cls, text: str) -> Delimiters:
        return cls(*unused_characters(2, text))

    def wrap(self, messages: Sequence[Message]) -> list[Message]:
        """Copy the messages, with delimiters around their user strings."""
        return [_map_user_strings(message, self._around) for message in messages]

    def _around(self, text: str) -> str:
        """The text with delimiters inside its leading and trailing white space, which templates often trim."""
        trimmed = text.strip()
        if not trimmed:
            return text
        at = text.index(trimmed)
        return text[:at] + self.begin + trimmed + self.end + text[at + len(trimmed) :]

    def spans(self, text: str) -> list[Span] | None:
        """Split the text at the delimiters, which are removed. None if they do not come in pairs."""
        delimiters = [character for character in text if character in (self.begin, self.end)]
        if delimiters != [self.begin, self.end] * (len(delimiters) // 2):
            return None
        pieces = re.split(f"[{self.begin}{self.end}]", text)
        return [Span(piece, is_markup=index % 2 == 0) for index, piece in enumerate(pieces) if piece]


def unused_characters(count: int, text: str) -> list[str]:
    """Private-use characters that a text does not contain."""
    used = set(text)
    unused = [character for code in range(0xE000, 0xF8FF) if (character := chr(code)) not in used]
    if len(unused) < count:
        raise InvalidRequest(
            "The messages contain every private-use character of Unicode. Remove some.", param="messages"
        )
    return unused[:count]


def user_strings(messages: Sequence[Message]) -> list[str]:
    """All strings of the messages that a user may have written."""
    strings: list[str] = []

    def collect(text: str) -> str:
        strings.append(text)
        return text

    for message in messages:
        _map_user_strings(message, collect)
    return strings


def _map_user_strings(value: Any, change: Callable[[str], str], key: str = "") -> Any:
    """A copy of a message, or of the value at `key` in it, with its user strings changed."""
    if isinstance(value, str):
        # Templates count the characters of ids. Letters and digits alone are never a control token.
        return value if key in _COMPARED or (key in _IDS and value.isalnum()) else change(value)
    if isinstance(value, Arguments):
        return Arguments(_map_all_strings(value, change), change(value.text))
    if isinstance(value, dict):
        return {name: _map_user_strings(item, change, name) for name, item in value.items()}
    if isinstance(value, list):
        return [_map_user_strings(item, change, key) for item in value]
    return value


def _map_all_strings(value: Any, change: Callable[[str], str]) -> Any:
    """A copy of any JSON with its strings changed, keys too."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {change(name): _map_all_strings(item, change) for name, item in value.items()}
    if isinstance(value, list):
        return [_map_all_strings(item, change) for item in value]
    return value


def variants(messages: Sequence[Message]) -> Iterator[Sequence[Message]]:
    """Yield the messages, then the messages with reasoning in its own field.

    Clients replay reasoning as it came, within an assistant's content. Templates of reasoning models split the content
    there, and so separate delimiters; with the reasoning in its own field there is nothing to split.
    """
    yield messages
    if any(_has_reasoning(message) for message in messages):
        for stripped in ("\n", ""):
            yield [
                _with_reasoning_field(message, stripped) if _has_reasoning(message) else message for message in messages
            ]


def _has_reasoning(message: Message) -> bool:
    return message["role"] == "assistant" and _REASONING_END in (message["content"] or "")


def _with_reasoning_field(message: Message, stripped: str) -> Message:
    first, *_, rest = message["content"].split(_REASONING_END)
    reasoning = first.rpartition("<think>")[2].strip("\n")
    return {**message, "reasoning_content": reasoning, "content": rest.lstrip(stripped)}
