"""Draft tokens by prompt lookup: their content, length and pauses."""

from __future__ import annotations

from crossette.engines.openvino.drafts import PromptLookup


def test_the_tokens_after_the_last_trigram_are_proposed() -> None:
    assert PromptLookup((), (1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3)).propose(3) == (4, 5, 6)


def test_the_latest_occurrence_wins_and_the_end_of_the_text_is_none() -> None:
    assert PromptLookup((), (1, 2, 3, 4, 9, 1, 2, 3, 5, 9, 1, 2, 3)).propose(1) == (5,)
    assert PromptLookup((), (1, 2, 3)).propose(4) == ()


def test_the_prediction_is_searched_too() -> None:
    lookup = PromptLookup((1, 2, 3, 4, 5), (9, 9))
    for token in (1, 2, 3):
        lookup.append(token)

    assert lookup.propose(8)[:2] == (4, 5)


def test_accepted_drafts_grow_to_sixteen_and_rejected_ones_shrink_and_pause() -> None:
    lookup = PromptLookup((), (*range(100), 0, 1, 2))
    lengths = []
    for _ in range(4):
        proposed = lookup.propose(100)
        lengths.append(len(proposed))
        lookup.update(len(proposed), len(proposed))
    assert lengths == [4, 8, 16, 16]

    proposed_lengths = []
    for _ in range(12):
        proposed = lookup.propose(100)
        proposed_lengths.append(len(proposed))
        if proposed:
            lookup.update(len(proposed), 0)
    assert proposed_lengths == [16, 0, 8, 0, 0, 4, 0, 0, 0, 0, 2, 0]
