"""Outputs with reasoning and calls in any tokens, with stop strings: the same pieces, text, tokens and counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from crossette.errors import ServingError
from crossette.generation.choice import Choice, Stops
from crossette.text.output_plan import OutputPlan
from crossette.text.pieces import Content, Piece, joined
from crossette.text.token_offsets import TokenText
from crossette.text.tool_calls.families import FORMATS
from crossette.text.tool_calls.tool_set import ToolSet
from crossette.text.tool_calls.tools import Tool, ToolChoice
from crossette.types import FinishReason, Logprob, TokenOutput
from support.output_recordings import REASONING, RECORDINGS, Recording
from support.token_streams import TABLE

Cuts = Sequence[int]


@dataclass(frozen=True)
class Outcome:
    """Everything that a choice returns for an output."""

    pieces: list[Piece]
    offsets: list[int]
    """The offsets of the pieces of content in the text."""
    text: str
    reason: FinishReason | None
    tokens: list[TokenText]
    num_tokens: int
    num_reasoning: int
    error: str = ""


def plan_of(recording: Recording) -> OutputPlan:
    """The plan of a recording, which allows any arguments of its calls."""
    tool_set = None
    if recording.format:
        tools = tuple(Tool(name, parameters={"additionalProperties": True}) for name in {c[0] for c in recording.calls})
        tool_set = ToolSet.of(FORMATS[recording.format], tools, ToolChoice("auto"))
    reasoning = REASONING[recording.reasoning] if recording.reasoning else None
    return OutputPlan(tool_set=tool_set, reasoning=reasoning, is_thinking=recording.is_thinking)


PLANS = {recording.name: plan_of(recording) for recording in RECORDINGS}


def pieces_of(data: bytes, cuts: Cuts) -> list[bytes]:
    edges = sorted({0, len(data), *(min(cut, len(data)) for cut in cuts)})
    return [data[begin:end] for begin, end in pairwise(edges)]


def read(
    recording: Recording, tokens: Sequence[int], stops: Stops, cuts: Cuts, end_by: FinishReason = FinishReason.STOP
) -> Outcome:
    """Read tokens in steps that are cut at these indices."""
    choice = Choice(0, TABLE, stops, PLANS[recording.name], traced=True)
    edges = [0, *sorted(min(cut, len(tokens)) for cut in cuts), len(tokens)]
    pieces: list[Piece] = []
    token_texts: list[TokenText] = []
    text, error, reason = "", "", None
    for index, (begin, end) in enumerate(pairwise(edges)):
        logprobs = tuple(Logprob(token, -at / 7, -at / 9) for at, token in enumerate(tokens[begin:end], begin))
        ended = end_by if index == len(edges) - 2 else None
        try:
            delta = choice.read(TokenOutput(0, tuple(tokens[begin:end]), ended, logprobs=logprobs))
        except ServingError as raised:
            error = raised.message
            break
        if delta is not None:
            pieces += delta.pieces
            token_texts += delta.tokens
            text += delta.text
            reason = delta.finish_reason
        if reason is not None:
            break
    pieces = [] if error else joined(pieces)  # the deltas before an error depend on the steps
    offsets = [piece.begin for piece in pieces if isinstance(piece, Content)]
    if error:
        return Outcome([], [], "", None, [], choice.num_tokens, choice.num_reasoning, error)
    return Outcome(pieces, offsets, text, reason, token_texts, choice.num_tokens, choice.num_reasoning)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Recording, Stops]:
    """A recording, and stop strings that mostly occur in it."""
    recording = draw(st.sampled_from(RECORDINGS))
    text = recording.text
    begins = st.integers(0, max(0, len(text) - 1))
    in_text = st.builds(lambda begin, size: text[begin : begin + size], begins, st.integers(1, 8))
    content = recording.content
    in_content = st.builds(
        lambda begin, size: content[begin : begin + size], st.integers(0, max(0, len(content) - 1)), st.integers(1, 4)
    )
    strings = draw(st.lists(in_text | in_content, max_size=2))
    return recording, Stops(tuple(filter(None, strings)), draw(st.booleans()))


cuts = st.lists(st.integers(0, 400), max_size=12)


ends = st.sampled_from(FinishReason)
lengths = st.none() | st.integers(1, 400)


@given(cases(), lengths, cuts, cuts, ends)
def test_the_outcome_does_not_depend_on_the_steps(
    case: tuple[Recording, Stops], length: int | None, by: Cuts, steps: Cuts, end_by: FinishReason
) -> None:
    recording, stops = case
    tokens = [TABLE.id_of(data) for data in pieces_of(recording.text.encode(), by)][:length]

    one_by_one = read(recording, tokens, stops, range(len(tokens)), end_by)

    assert read(recording, tokens, stops, steps, end_by) == one_by_one
    assert read(recording, tokens, stops, (), end_by) == one_by_one


@given(cases(), lengths, cuts, cuts, ends)
def test_the_pieces_do_not_depend_on_the_tokens_of_the_text(
    case: tuple[Recording, Stops], length: int | None, by: Cuts, other: Cuts, end_by: FinishReason
) -> None:
    recording, stops = case
    outcomes = [
        read(recording, list(map(TABLE.id_of, pieces_of(recording.text.encode()[:length], cut))), stops, (), end_by)
        for cut in (by, other)
    ]

    one, two = outcomes
    assert (one.pieces, one.offsets, one.text, one.error) == (two.pieces, two.offsets, two.text, two.error)


@given(st.sampled_from(RECORDINGS), cuts, cuts, ends)
def test_every_token_is_counted_and_listed_once(
    recording: Recording, by: Cuts, steps: Cuts, end_by: FinishReason
) -> None:
    tokens = [TABLE.id_of(data) for data in pieces_of(recording.text.encode(), by)]

    outcome = read(recording, tokens, Stops(), steps, end_by)

    if not outcome.error:
        assert outcome.num_tokens == len(tokens) == len(outcome.tokens)
        assert [token.id for token in outcome.tokens] == tokens
        assert outcome.text == recording.text
