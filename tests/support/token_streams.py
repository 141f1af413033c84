"""Strategies of token streams: recorded from a model, and composed of pieces that are hard to cut."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import msgspec
from hypothesis import strategies as st

from crossette.types import FinishReason, TokenOutput
from support.played_engine import TokenTable

TABLE = TokenTable()


@dataclass(frozen=True, slots=True)
class ChoiceTokens:
    """One choice: its tokens and its finish reason."""

    tokens: tuple[int, ...]
    reason: FinishReason

    @property
    def text(self) -> str:
        return b"".join(map(TABLE.token_bytes, self.tokens)).decode(errors="replace")


def _recorded() -> list[ChoiceTokens]:
    """The recordings of tests/support/record_streams.py, with the ids of `TABLE`."""
    recorded = json.loads((Path(__file__).parents[1] / "data" / "streams.json").read_text())
    ids = {
        int(token): TABLE.id_of(bytes.fromhex(data)) if data else TABLE.end for token, data in recorded["bytes"].items()
    }
    return [
        ChoiceTokens(tuple(ids[token] for token in stream["tokens"]), FinishReason(stream["finish_reason"]))
        for stream in recorded["streams"]
    ]


RECORDED = _recorded()

TEXTS = ("a", "b", "ab", "\n", "é", "e\u0301", "🎆", "👩\u200d👩\u200d👧", "🇩🇪", "\ufffd")
"""Texts in which stop strings overlap: of characters with one, two and eight code points."""
PIECES = (*(text.encode() for text in TEXTS), b"\xff", b"\xc3", b"\x80", b"\xf0\x9f", b"\xe2\x80", b"\xa9")
"""The same, and invalid and incomplete UTF-8."""


@st.composite
def choice_tokens(draw: st.DrawFn) -> ChoiceTokens:
    """The end of a recording, or pieces that are cut into tokens anywhere, with control tokens between them."""
    if draw(st.integers(0, 3)) == 0:
        stream = draw(st.sampled_from(RECORDED))
        return replace(stream, tokens=stream.tokens[draw(st.integers(0, len(stream.tokens))) :])
    data = b"".join(draw(st.lists(st.sampled_from(PIECES), max_size=8)))
    edges = draw(st.sets(st.integers(0, len(data)))) | {0, len(data)}
    tokens = [TABLE.id_of(data[begin:end]) for begin, end in pairwise(sorted(edges))]
    for index in draw(st.lists(st.integers(0, len(tokens)), max_size=2)):
        tokens.insert(index, TABLE.end)
    return ChoiceTokens(tuple(tokens), draw(st.sampled_from(FinishReason)))


@st.composite
def stops_in(draw: st.DrawFn, text: str) -> list[str]:
    """Up to four stop strings: most from the text, so that they are adjacent, overlap, are nested, or end the text."""
    strings = st.text("ab\né🎆", min_size=1, max_size=3)
    if text:
        begins = st.integers(0, len(text) - 1)
        strings |= st.builds(lambda begin, size: text[begin : begin + size], begins, st.integers(1, 6))
    return draw(st.lists(strings, max_size=4))


@st.composite
def interleaved_steps(draw: st.DrawFn, choices: Sequence[ChoiceTokens]) -> list[TokenOutput]:
    """The choices of one request as outputs: cut into steps anywhere, and interleaved."""
    queues: list[list[TokenOutput]] = []
    for index, choice in enumerate(choices):
        num_tokens = len(choice.tokens)
        edges = sorted(draw(st.sets(st.integers(0, num_tokens), max_size=6)) | {0, num_tokens})
        steps = [choice.tokens[begin:end] for begin, end in pairwise(edges)] or [()]
        queue = [TokenOutput(index, step) for step in steps]
        queue[-1] = msgspec.structs.replace(queue[-1], finish_reason=choice.reason)
        queues.append(queue)
    outputs: list[TokenOutput] = []
    while any(queues):
        outputs.append(draw(st.sampled_from([queue for queue in queues if queue])).pop(0))
    return [msgspec.structs.replace(outputs[0], cached_tokens=1), *outputs[1:]]
