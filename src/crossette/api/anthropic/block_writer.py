"""The pieces of an output as content blocks: as events of a stream, or complete."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

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
    """Assigns the pieces of one output to blocks: pieces of one kind in a row are one block, and each call is one."""

    def __init__(self, *, omits_thinking: bool = False) -> None:
        self._omits_thinking = omits_thinking
        self._open: _Open | None = None
        self._num_begun = 0
        self._blocks: list[AnswerBlock] = []

    def events(self, pieces: Iterable[Piece]) -> Iterator[Event]:
        """The events of the next pieces."""
        for piece in pieces:
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

    def end(self) -> Iterator[Event]:
        """The events that end the last block."""
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

    def blocks(self) -> list[AnswerBlock]:
        """The complete blocks, after `end`."""
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
        yield from self.end()
        self._open = _Open(self._num_begun, empty)
        self._num_begun += 1
        yield BlockStart(self._open.index, empty)


def blocks_of(pieces: Iterable[Piece], *, omits_thinking: bool) -> list[AnswerBlock]:
    """The blocks of a complete output."""
    writer = BlockWriter(omits_thinking=omits_thinking)
    for _ in writer.events(pieces):
        pass
    for _ in writer.end():
        pass
    return writer.blocks()


def _signature(thinking: str) -> str:
    """What clients store and send back. It proves nothing, and says so: a digest without a key."""
    return f"sha256:{hashlib.sha256(thinking.encode()).hexdigest()}"
