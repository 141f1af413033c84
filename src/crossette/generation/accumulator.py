"""Accumulates the deltas of an answer into complete results."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass

from crossette.generation.answer import DeltaSource
from crossette.generation.choice import Delta
from crossette.text.pieces import Piece, ToolCall, calls_of, content_of, joined, reasoning_text
from crossette.text.token_offsets import TokenText
from crossette.types import FinishReason


@dataclass(frozen=True, slots=True)
class ChoiceResult:
    """A complete choice."""

    index: int
    text: str
    """The raw text with its markup, after the echoed prompt."""
    pieces: tuple[Piece, ...]
    """The parsed text."""
    finish_reason: FinishReason | None
    tokens: tuple[TokenText, ...] = ()

    @property
    def content(self) -> str:
        return content_of(self.pieces)

    @property
    def reasoning(self) -> str:
        return reasoning_text(self.pieces)

    @property
    def calls(self) -> list[ToolCall]:
        return calls_of(self.pieces)


class Accumulator:
    """Accumulates the deltas of all choices."""

    def __init__(self, num_choices: int) -> None:
        self._texts: list[list[str]] = [[] for _ in range(num_choices)]
        self._pieces: list[list[Piece]] = [[] for _ in range(num_choices)]
        self._tokens: list[list[TokenText]] = [[] for _ in range(num_choices)]
        self._reasons: list[FinishReason | None] = [None] * num_choices

    @property
    def begun(self) -> set[int]:
        """The indices of the choices that have begun."""
        return {index for index, texts in enumerate(self._texts) if texts}

    def add(self, delta: Delta) -> bool:
        """Add the next delta of a choice. Returns whether it is the first."""
        index, texts = delta.index, self._texts[delta.index]
        texts.append(delta.text)
        self._pieces[index] += delta.pieces
        if delta.tokens:
            self._tokens[index] += delta.tokens
        if delta.finish_reason is not None:
            self._reasons[index] = delta.finish_reason
        return len(texts) == 1

    def result(self, index: int) -> ChoiceResult:
        """The result of a choice so far."""
        return ChoiceResult(
            index,
            "".join(self._texts[index]),
            tuple(joined(self._pieces[index])),
            self._reasons[index],
            tuple(self._tokens[index]),
        )


async def collect(answer: DeltaSource) -> list[ChoiceResult]:
    """Read an answer to its end. Return one result per choice, in order."""
    accumulator = Accumulator(len(answer.choices))
    async with aclosing(answer.deltas()) as deltas:
        async for delta in deltas:
            accumulator.add(delta)
    return [accumulator.result(index) for index in range(len(answer.choices))]
