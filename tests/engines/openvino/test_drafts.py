"""Guesses from the text: what they are, and when they stop."""

from __future__ import annotations

from crossette.engines.openvino.drafts import PromptLookup


def test_what_followed_the_last_three_tokens_is_guessed() -> None:
    assert PromptLookup((), (1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3)).propose(3) == (4, 5, 6)


def test_the_latest_place_wins_and_the_text_itself_is_no_place() -> None:
    assert PromptLookup((), (1, 2, 3, 4, 9, 1, 2, 3, 5, 9, 1, 2, 3)).propose(1) == (5,)
    assert PromptLookup((), (1, 2, 3)).propose(4) == ()


def test_a_prediction_is_looked_in_too() -> None:
    lookup = PromptLookup((1, 2, 3, 4, 5), (9, 9))
    for token in (1, 2, 3):
        lookup.append(token)

    assert lookup.propose(8)[:2] == (4, 5)


def test_right_guesses_grow_to_sixteen_and_wrong_ones_shrink_and_pause() -> None:
    lookup = PromptLookup((), (*range(100), 0, 1, 2))
    lengths = []
    for _ in range(4):
        proposed = lookup.propose(100)
        lengths.append(len(proposed))
        lookup.update(len(proposed), len(proposed))
    assert lengths == [4, 8, 16, 16]

    tried = []
    for _ in range(12):
        proposed = lookup.propose(100)
        tried.append(len(proposed))
        if proposed:
            lookup.update(len(proposed), 0)
    assert tried == [16, 0, 8, 0, 0, 4, 0, 0, 0, 0, 2, 0]
