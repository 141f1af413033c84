"""What a model's output is made of: content, thoughts, and calls of tools, piece by piece."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Content:
    """Words for the reader."""

    text: str
    begin: int = field(default=0, compare=False)
    """Where they stand in the model's text, in characters: letter for letter from there on."""


@dataclass(frozen=True, slots=True)
class ReasoningText:
    """Words of the model to itself."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCallStart:
    """A call begins. `index` counts the calls of one output from 0; whoever sends it gives it an id."""

    index: int
    name: str


@dataclass(frozen=True, slots=True)
class ToolCallArguments:
    """More of the JSON text of a call's arguments: the pieces of a finished call join to one JSON object."""

    index: int
    text: str


Piece = Content | ReasoningText | ToolCallStart | ToolCallArguments


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call, complete."""

    name: str
    arguments: str
    """JSON of an object, unless the output was cut."""


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
    return [ToolCall(name, "".join(said)) for name, said in zip(names, arguments, strict=True)]


def joined(pieces: Iterable[Piece]) -> list[Piece]:
    """The same output in as few pieces as say it: neighbours of one kind become one.

    Content stays apart where the model's text has something between.
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
