"""Text that needs no parsing is read in one step per output: the deltas are those of the long way."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from crossette.generation.choice import Choice, Delta, Stops
from crossette.testing.fake_tokenizer import IM_END, FakeTokenizer
from crossette.types import FinishReason, Logprob, TokenOutput

TOKENIZER = FakeTokenizer()
Read = list[tuple[str, list[tuple[str, int]], FinishReason | None]]


def outputs_of(steps: Sequence[Sequence[int]], reason: FinishReason) -> list[TokenOutput]:
    last = len(steps) - 1
    return [
        TokenOutput(
            0,
            tuple(tokens),
            reason if index == last else None,
            cached_tokens=3 * (index == 0),
            accepted_tokens=len(tokens) // 2,
            logprobs=tuple(Logprob(token, -token / 7, -1.0) for token in tokens),
        )
        for index, tokens in enumerate(steps)
    ]


def read(outputs: Sequence[TokenOutput], *, traced: bool) -> tuple[Read, tuple[int, int, int, float]]:
    """The deltas of a choice, and its counts. A choice that lists its tokens is read the long way."""
    choice = Choice(0, TOKENIZER, Stops(), traced=traced)
    deltas = [delta for output in outputs if (delta := choice.read(output)) is not None]
    counts = choice.num_tokens, choice.num_cached, choice.num_accepted, choice.mean_logprob
    return [(delta.text, _contents(delta), delta.finish_reason) for delta in deltas], counts


def _contents(delta: Delta) -> list[tuple[str, int]]:
    return [(piece.text, piece.begin) for piece in delta.pieces]  # type: ignore[union-attr]  # all are content


@given(
    st.lists(st.lists(st.sampled_from([*"aé€😀 \n".encode(), 0xFF, IM_END]), max_size=5), min_size=1, max_size=8),
    st.sampled_from(FinishReason),
)
def test_the_deltas_are_those_of_a_choice_that_lists_its_tokens(steps: list[list[int]], reason: FinishReason) -> None:
    outputs = outputs_of(steps, reason)
    assert read(outputs, traced=False) == read(outputs, traced=True)
