"""The pieces of a model's output: content, reasoning and tool calls."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec


class Content(msgspec.Struct, frozen=True, eq=False):
    """Text of the answer. A struct: made for each token, several times as fast as a frozen dataclass."""

    text: str
    begin: int = 0
    """Offset in the model's text, in characters. The content is that text, unchanged, from there on."""

    def __eq__(self, other: object) -> bool:
        """Whether the texts are equal, wherever they are."""
        return isinstance(other, Content) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)


@dataclass(frozen=True, slots=True)
class ReasoningText:
    """Text of the reasoning."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCallStart:
    """The start of a call. `index` counts the calls of one output from 0; the API assigns ids."""

    index: int
    name: str


@dataclass(frozen=True, slots=True)
class ToolCallArguments:
    """A part of a call's arguments as JSON text: the parts of a finished call join to one JSON object."""

    index: int
    text: str


Piece = Content | ReasoningText | ToolCallStart | ToolCallArguments


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A complete call."""

    name: str
    arguments: str
    """A JSON object, unless the output was cut."""


def content_of(pieces: Iterable[Piece]) -> str:
    return "".join(piece.text for piece in pieces if isinstance(piece, Content))


def reasoning_text(pieces: Iterable[Piece]) -> str:
    return "".join(piece.text for piece in pieces if isinstance(piece, ReasoningText))


def calls_of(pieces: Iterable[Piece]) -> list[ToolCall]:
    names: list[str] = []
    arguments: list[list[str]] = []
    for piece in pieces:
        match piece:
            case ToolCallStart(_, name):
                names.append(name)
                arguments.append([])
            case ToolCallArguments(index, text):
                arguments[index].append(text)
    return [ToolCall(name, "".join(texts)) for name, texts in zip(names, arguments, strict=True)]


def joined(pieces: Iterable[Piece]) -> list[Piece]:
    """Merge adjacent pieces of one kind.

    Content pieces stay separate where the model's text has something between them.
    """
    result: list[Piece] = []
    for piece in pieces:
        last = result[-1] if result else None
        match last, piece:
            case Content(before, begin), Content(text, at) if begin + len(before) == at:
                result[-1] = Content(before + text, begin)
            case ReasoningText(before), ReasoningText(text):
                result[-1] = ReasoningText(before + text)
            case ToolCallArguments(index, before), ToolCallArguments(same, text) if index == same:
                result[-1] = ToolCallArguments(index, before + text)
            case _:
                result.append(piece)
    return result
