"""The pieces of an output as content blocks: as events of a stream, or complete."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain

import msgspec

from crossette.api.anthropic.answer import (
    AnswerBlock,
    BlockDelta,
    BlockStart,
    BlockStop,
    Event,
    InputDelta,
    SignatureDelta,
    TextBlock,
    TextDelta,
    ThinkingBlock,
    ThinkingDelta,
    ToolUseBlock,
)
from crossette.api.anthropic.partial_json import complete_values
from crossette.text.pieces import Content, Piece, ReasoningText, ToolCallArguments, ToolCallStart

_EMPTY = msgspec.Raw(b"{}")


@dataclass(slots=True)
class _Open:
    """A block in progress: `empty` is the block as it begins."""

    index: int
    empty: AnswerBlock
    text: list[str] = field(default_factory=list)


class BlockWriter:
    """Assigns the pieces of one output to blocks: pieces of one kind in a row are one block, and each call is one.

    Blocks are written one after the other. Unless calls come in turn, what follows the first call's start is held back
    until the end, except for its own arguments: only then is it complete.
    """

    def __init__(self, *, omits_thinking: bool = False, calls_in_turn: bool = True) -> None:
        self._omits_thinking = omits_thinking
        self._calls_in_turn = calls_in_turn
        self._first_call: int | None = None
        self._held: list[Piece] = []
        self._open: _Open | None = None
        self._num_begun = 0
        self._blocks: list[AnswerBlock] = []

    def events(self, pieces: Iterable[Piece]) -> Iterator[Event]:
        """The events of the next pieces."""
        for piece in pieces:
            if self._is_held(piece):
                self._held.append(piece)
            else:
                yield from self._write(piece)

    def end(self) -> Iterator[Event]:
        """The events of what was held back, and of the end of the last block."""
        for piece in in_turn(self._held):
            yield from self._write(piece)
        yield from self._end_block()

    def _is_held(self, piece: Piece) -> bool:
        if self._calls_in_turn:
            return False
        if self._first_call is None:
            self._first_call = piece.index if isinstance(piece, ToolCallStart) else None
            return False
        return not (isinstance(piece, ToolCallArguments) and piece.index == self._first_call)

    def _write(self, piece: Piece) -> Iterator[Event]:
        match piece:
            case Content(""):
                pass
            case Content(text):
                yield from self._add(TextBlock(""), text, TextDelta(text))
            case ReasoningText(text):
                delta = None if self._omits_thinking else ThinkingDelta(text)
                yield from self._add(ThinkingBlock("", ""), text, delta)
            case ToolCallStart(_, name):
                yield from self._begin(ToolUseBlock(f"toolu_{secrets.token_hex(12)}", name, _EMPTY))
            case ToolCallArguments(_, text):
                assert self._open is not None, "a call begins with its name"
                self._open.text.append(text)
                yield BlockDelta(self._open.index, InputDelta(text))

    def _end_block(self) -> Iterator[Event]:
        block = self._open
        if block is None:
            return
        text = "".join(block.text)
        match block.empty:
            case TextBlock():
                self._blocks.append(TextBlock(text))
            case ThinkingBlock():
                signature = _signature(text)
                self._blocks.append(ThinkingBlock("" if self._omits_thinking else text, signature))
                yield BlockDelta(block.index, SignatureDelta(signature))
            case ToolUseBlock(call_id, name):
                self._blocks.append(ToolUseBlock(call_id, name, msgspec.Raw(complete_values(text).encode())))
        yield BlockStop(block.index)
        self._open = None

    def all_blocks(self, pieces: Iterable[Piece]) -> list[AnswerBlock]:
        """The blocks of a complete output."""
        for _ in chain(self.events(pieces), self.end()):
            pass
        return self._blocks

    def _add(self, empty: AnswerBlock, text: str, delta: TextDelta | ThinkingDelta | None) -> Iterator[Event]:
        """Add text to the open block, or to a new one if that is of another kind."""
        if self._open is None or type(self._open.empty) is not type(empty):
            yield from self._begin(empty)
        assert self._open is not None
        self._open.text.append(text)
        if delta is not None:
            yield BlockDelta(self._open.index, delta)

    def _begin(self, empty: AnswerBlock) -> Iterator[Event]:
        yield from self._end_block()
        self._open = _Open(self._num_begun, empty)
        self._num_begun += 1
        yield BlockStart(self._open.index, empty)


def in_turn(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """The pieces with those of each call together, where it began, and all others where the first of them came."""
    groups: dict[int | None, list[Piece]] = {}
    for piece in pieces:
        index = piece.index if isinstance(piece, ToolCallStart | ToolCallArguments) else None
        groups.setdefault(index, []).append(piece)
    return chain.from_iterable(groups.values())


def _signature(thinking: str) -> str:
    """What clients store and send back. It proves nothing, and says so: a digest without a key."""
    return f"sha256:{hashlib.sha256(thinking.encode()).hexdigest()}"
