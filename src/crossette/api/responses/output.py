"""The output of a response: from the pieces of an answer to items, and the events that tell them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from crossette.api.responses.answer import ItemStatus, OutputItem
from crossette.api.responses.events import Event
from crossette.api.responses.open_items import OpenCall, OpenItem, OpenMessage, OpenReasoning, OpenSummary
from crossette.api.schema.logprobs import TokenLogprob
from crossette.text.pieces import Content, Piece, ReasoningText, ToolCallArguments, ToolCallStart
from crossette.text.token_offsets import TokenText

ItemT = TypeVar("ItemT", bound=OpenItem)
LogprobsOf = Callable[[Sequence[TokenText]], list[TokenLogprob]]

_CALL_KEY = 22
"""Characters of the response's key in the id of a call."""


@dataclass(frozen=True, slots=True)
class OutputOptions:
    shows_reasoning: bool = True
    summarises: bool = False
    """Whether reasoning is written as its own summary."""
    seals: bool = False
    """Whether reasoning also has `encrypted_content`."""
    max_calls: int | None = None
    logprobs: LogprobsOf | None = None
    are_calls_in_turn: bool = True
    """Whether a call is complete when the next one begins: an upstream may write them side by side."""


class Output:
    """The items so far, of which the last one is open, or the last calls."""

    def __init__(self, key: str, options: OutputOptions) -> None:
        """`key` is the part of the response's id that the ids of its items repeat."""
        self._key = key
        self._options = options
        self._done: dict[int, OutputItem] = {}
        self._open: list[OpenItem] = []
        self._calls: list[OpenCall] = []
        self._tokens = _Tokens()
        self._is_answered = False
        """Whether it has a message or a call."""
        self.is_over = False
        """Whether another call began after the last one that is allowed."""

    @property
    def num_calls(self) -> int:
        return len(self._calls)

    def items(self) -> list[OutputItem]:
        """All items, in order. Those that are still open are incomplete."""
        items = self._done | {one.index: one.item("incomplete") for one in self._open}
        return [items[index] for index in sorted(items)]

    def add(self, pieces: Sequence[Piece], tokens: Sequence[TokenText]) -> Iterator[Event]:
        """The events of a delta."""
        self._tokens.push(tokens)
        for piece in pieces:
            if not self.is_over:
                yield from self._add(piece)

    def end(self, status: ItemStatus) -> Iterator[Event]:
        """Close what is open, with `status`. A complete answer without message and call has an empty message."""
        if status == "completed" and not self._is_answered:
            yield from self._message()
        yield from self._close(status)

    def _add(self, piece: Piece) -> Iterator[Event]:
        match piece:
            case Content(text, begin):
                message = yield from self._message()
                tokens = self._tokens.take(begin, begin + len(text))
                logprobs = self._options.logprobs
                yield from message.add(text, logprobs(tokens) if logprobs is not None else [])
            case ReasoningText(text):
                if self._options.shows_reasoning:
                    reasoning = yield from self._reasoning()
                    yield from reasoning.add(text)
            case ToolCallStart(_, name):
                yield from self._begin_call(name)
            case ToolCallArguments(index, text):
                yield from self._calls[index].add(text)

    def _message(self) -> Generator[Event, None, OpenMessage]:
        self._is_answered = True
        return (yield from self._opened(OpenMessage, lambda index: OpenMessage(self._id("msg"), index)))

    def _reasoning(self) -> Generator[Event, None, OpenReasoning]:
        kind, is_sealed = OpenSummary if self._options.summarises else OpenReasoning, self._options.seals
        return (yield from self._opened(kind, lambda index: kind(self._id("rs"), index, is_sealed=is_sealed)))

    def _begin_call(self, name: str) -> Iterator[Event]:
        if self.num_calls == self._options.max_calls:
            self.is_over = True
            return
        self._is_answered = True
        yield from self._close("completed", keeps_calls=not self._options.are_calls_in_turn)
        call_id = f"call_{self._key[:_CALL_KEY]}{self._num_items:02x}"
        call = OpenCall(self._id("fc"), self._num_items, call_id, name)
        self._calls.append(call)
        self._open.append(call)
        yield from call.begin()

    def _opened(self, kind: type[ItemT], new: Callable[[int], ItemT]) -> Generator[Event, None, ItemT]:
        """The open item of this kind; a new one if another is open."""
        last = self._open[-1] if self._open else None
        if isinstance(last, kind):
            return last
        yield from self._close("completed")
        item = new(self._num_items)
        self._open.append(item)
        yield from item.begin()
        return item

    @property
    def _num_items(self) -> int:
        return len(self._done) + len(self._open)

    def _id(self, prefix: str) -> str:
        return f"{prefix}_{self._key}_{self._num_items}"

    def _close(self, status: ItemStatus, *, keeps_calls: bool = False) -> Iterator[Event]:
        closed = [item for item in self._open if not (keeps_calls and isinstance(item, OpenCall))]
        self._open = [item for item in self._open if item not in closed]
        self._done |= {item.index: item.item(status) for item in closed}
        for item in closed:
            yield from item.end(status)


class _Tokens:
    """The tokens that no content has taken yet. Those of reasoning, calls and markup are dropped."""

    def __init__(self) -> None:
        self._pending: list[TokenText] = []

    def push(self, tokens: Sequence[TokenText]) -> None:
        self._pending += tokens

    def take(self, begin: int, end: int) -> list[TokenText]:
        """The tokens whose first character is within these offsets of the model's text."""
        taken = [token for token in self._pending if begin <= token.offset < end]
        self._pending = [token for token in self._pending if token.offset >= end]
        return taken
