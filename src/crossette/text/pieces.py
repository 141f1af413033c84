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


@dataclass(frozen=True, slots=True)
class Called:
    """A call, complete."""

    name: str
    arguments: str
    """JSON of an object, unless the output was cut."""


def content_of(pieces: Iterable[Piece]) -> str:
    return "".join(piece.text for piece in pieces if isinstance(piece, Content))


def thoughts_of(pieces: Iterable[Piece]) -> str:
    return "".join(piece.text for piece in pieces if isinstance(piece, Thought))


def calls_of(pieces: Iterable[Piece]) -> list[Called]:
    names: list[str] = []
    arguments: list[list[str]] = []
    for piece in pieces:
        match piece:
            case CallHead(_, name):
                names.append(name)
                arguments.append([])
            case CallArguments(index, text):
                arguments[index].append(text)
    return [Called(name, "".join(said)) for name, said in zip(names, arguments, strict=True)]


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
            case Thought(before), Thought(text):
                result[-1] = Thought(before + text)
            case CallArguments(index, before), CallArguments(same, text) if index == same:
                result[-1] = CallArguments(index, before + text)
            case _:
                result.append(piece)
    return result
