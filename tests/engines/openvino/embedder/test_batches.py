"""Which texts a step computes together."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from crossette.engines.openvino.embedder.batches import Batches, Text, Texts


def texts(owner: str, *lengths: int) -> Texts[str]:
    return Texts(owner, [[7] * length for length in lengths])


def taken(batches: Batches[str]) -> list[list[tuple[str, int]]]:
    """All steps until the queue is empty."""
    steps = []
    while batch := batches.next():
        steps.append([(text.owner, text.index) for text in batch])
    return steps


def test_texts_of_one_length_are_computed_together_whoever_sent_them() -> None:
    batches: Batches[str] = Batches(64)
    batches.add(texts("a", 5, 9, 5))
    batches.add(texts("b", 5, 9))

    assert taken(batches) == [[("a", 0), ("a", 2), ("b", 0)], [("b", 1), ("a", 1)]]


def test_a_short_request_does_not_wait_for_a_long_one() -> None:
    batches: Batches[str] = Batches(20)
    batches.add(texts("long", *[10] * 100))
    assert [text.owner for text in batches.next()] == ["long", "long"]
    batches.add(texts("short", 3))

    assert [text.owner for text in batches.next()] == ["short"]


def test_a_text_longer_than_a_step_is_computed_alone() -> None:
    batches: Batches[str] = Batches(16)
    batches.add(texts("a", 40, 40))

    assert taken(batches) == [[("a", 0)], [("a", 1)]]


@given(
    st.lists(st.tuples(st.lists(st.integers(1, 9), min_size=1, max_size=12), st.booleans()), max_size=6),
    st.integers(1, 40),
)
def test_every_text_is_computed_once_unless_its_request_ends(
    requests: list[tuple[list[int], bool]], max_tokens: int
) -> None:
    batches: Batches[int] = Batches(max_tokens)
    seen: list[Text[int]] = []
    for owner, (lengths, ends) in enumerate(requests):
        batches.add(Texts(owner, [[1] * length for length in lengths]))
        step = batches.next()
        seen += step
        if ends:
            batches.remove(owner)
    while step := batches.next():
        lengths_of_step = {len(text.tokens) for text in step}
        assert len(lengths_of_step) == 1
        assert len(step) == 1 or len(step) * lengths_of_step.pop() <= max_tokens
        seen += step

    assert len({(text.owner, text.index) for text in seen}) == len(seen)
    for owner, (lengths, ends) in enumerate(requests):
        if not ends:
            assert sorted(text.index for text in seen if text.owner == owner) == list(range(len(lengths)))
    assert batches.is_empty
    assert batches.num_gone == sum(len(lengths) for lengths, _ in requests)
    assert batches.num_gone_tokens == sum(sum(lengths) for lengths, _ in requests)
