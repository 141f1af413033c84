"""What a model's output is made of: content, thoughts, and calls of tools, piece by piece."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Content:
    """Words for the reader."""

    text: str


@dataclass(frozen=True, slots=True)
class Thought:
    """Words of the model to itself."""

    text: str


@dataclass(frozen=True, slots=True)
class CallHead:
    """A call begins. `index` counts the calls of one output from 0; whoever sends it gives it an id."""

    index: int
    name: str


@dataclass(frozen=True, slots=True)
class CallArguments:
    """More of the JSON text of a call's arguments: the pieces of a finished call join to one JSON object."""

    index: int
    text: str


Piece = Content | Thought | CallHead | CallArguments


def joined(pieces: Iterable[Piece]) -> list[Piece]:
    """The same output in as few pieces as say it: neighbours of one kind become one."""
    result: list[Piece] = []
    for piece in pieces:
        last = result[-1] if result else None
        match last, piece:
            case Content(before), Content(text):
                result[-1] = Content(before + text)
            case Thought(before), Thought(text):
                result[-1] = Thought(before + text)
            case CallArguments(index, before), CallArguments(same, text) if index == same:
                result[-1] = CallArguments(index, before + text)
            case _:
                result.append(piece)
    return result
