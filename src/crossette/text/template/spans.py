"""Which words of a prompt came with the request: marks around them go through the template, and come out as spans."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from crossette.errors import InvalidRequest
from crossette.text.template.messages import Arguments, Message

_COMPARED = ("role", "type")
"""Keys whose values templates compare. They come from short lists of ours, never from a user."""
_IDS = ("id", "tool_call_id")
_THOUGHTS_END = "</think>"


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of a prompt: the template's markup, or words that came with the request."""

    text: str
    is_markup: bool


@dataclass(frozen=True, slots=True)
class Marks:
    """Two characters that stand where words begin and end."""

    begin: str
    end: str

    @classmethod
    def unused_in(cls, text: str) -> Marks:
        return cls(*unused_characters(2, text))

    def put(self, messages: Sequence[Message]) -> list[Message]:
        """Copies of the messages, with marks around their words."""
        return [_map_words(message, self._around) for message in messages]

    def _around(self, text: str) -> str:
        """Marks around the words, inside the white space that templates like to trim."""
        words = text.strip()
        if not words:
            return text
        at = text.index(words)
        return text[:at] + self.begin + words + self.end + text[at + len(words) :]

    def spans(self, text: str) -> list[Span] | None:
        """The text without marks, cut at them; None where a mark has lost its partner."""
        marks = [character for character in text if character in (self.begin, self.end)]
        if marks != [self.begin, self.end] * (len(marks) // 2):
            return None
        pieces = re.split(f"[{self.begin}{self.end}]", text)
        return [Span(piece, is_markup=place % 2 == 0) for place, piece in enumerate(pieces) if piece]


def unused_characters(count: int, text: str) -> list[str]:
    """Private-use characters that a text does not have."""
    there = set(text)
    unused = [character for code in range(0xE000, 0xF8FF) if (character := chr(code)) not in there]
    if len(unused) < count:
        raise InvalidRequest("The messages use every private-use character of Unicode.", param="messages")
    return unused[:count]


def user_strings(messages: Sequence[Message]) -> list[str]:
    """Every string of the messages that a user may have written."""
    words: list[str] = []

    def note(text: str) -> str:
        words.append(text)
        return text

    for message in messages:
        _map_words(message, note)
    return words


def _map_words(value: Any, change: Callable[[str], str], key: str = "") -> Any:
    """A copy of a message, or of what stands under `key` in it, with its words changed."""
    if isinstance(value, str):
        # Templates count the characters of ids. Letters and digits alone spell no control token.
        return value if key in _COMPARED or (key in _IDS and value.isalnum()) else change(value)
    if isinstance(value, Arguments):
        return Arguments(_map_strings(value, change), change(value.text))
    if isinstance(value, dict):
        return {name: _map_words(item, change, name) for name, item in value.items()}
    if isinstance(value, list):
        return [_map_words(item, change, key) for item in value]
    return value


def _map_strings(value: Any, change: Callable[[str], str]) -> Any:
    """A copy of any JSON with its strings changed, keys too."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {change(name): _map_strings(item, change) for name, item in value.items()}
    if isinstance(value, list):
        return [_map_strings(item, change) for item in value]
    return value


def readings(messages: Sequence[Message]) -> Iterator[Sequence[Message]]:
    """The messages, and what templates of models that think make of them before they write.

    Clients replay thoughts within an assistant's content, as they came. Such templates cut there, through any marks;
    where the thoughts stand in the field that is theirs, there is nothing to cut.
    """
    yield messages
    if any(_thinks(message) for message in messages):
        for stripped in ("\n", ""):
            yield [_with_thoughts_apart(message, stripped) if _thinks(message) else message for message in messages]


def _thinks(message: Message) -> bool:
    return message["role"] == "assistant" and _THOUGHTS_END in (message["content"] or "")


def _with_thoughts_apart(message: Message, stripped: str) -> Message:
    first, *_, rest = message["content"].split(_THOUGHTS_END)
    thoughts = first.rpartition("<think>")[2].strip("\n")
    return {**message, "reasoning_content": thoughts, "content": rest.lstrip(stripped)}
