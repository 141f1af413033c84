"""Stop strings in text that is cut anywhere, compared with reading character by character."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from crossette.text.stop import StopChecker

Result = tuple[str, str | None]
"""All text that was returned, and the stop string that was found."""


def read_in_pieces(pieces: list[str], stops: list[str], include: bool) -> Result:
    checker = StopChecker(stops, include=include)
    text = "".join(checker.push(piece) for piece in pieces)
    return text + checker.flush(), checker.matched


def read_by_character(text: str, stops: list[str], include: bool) -> Result:
    """The reference: after each character, check whether the text ends with a stop string."""
    for end in range(len(text) + 1):
        found = [stop for stop in stops if stop and text[:end].endswith(stop)]
        if found:
            longest = max(found, key=len)
            return text[: end if include else end - len(longest)], longest
    return text, None


def cut(text: str, cuts: list[int]) -> list[str]:
    edges = [0, *sorted(min(cut_at, len(text)) for cut_at in cuts), len(text)]
    return [text[a:b] for a, b in pairwise(edges)]


letters = st.text("ab\n", max_size=24)
stop_strings = st.lists(st.text("ab\n", max_size=5), max_size=4)


@given(letters, stop_strings, st.lists(st.integers(0, 24), max_size=8), st.booleans())
def test_the_result_is_that_of_reading_by_character_wherever_the_text_is_cut(
    text: str, stops: list[str], cuts: list[int], include: bool
) -> None:
    assert read_in_pieces(cut(text, cuts), stops, include) == read_by_character(text, stops, include)


@given(letters, stop_strings)
@example("aaab", ["aab"])
@example("abab\n", ["abb", "bab\n", "a\n"])
def test_returned_text_is_final_and_only_a_possible_stop_is_held_back(text: str, stops: list[str]) -> None:
    checker = StopChecker(stops, include=False)
    out = ""
    for end in range(1, len(text) + 1):
        out += checker.push(text[end - 1])
        if checker.stopped:
            break
        held = text[len(out) : end]
        assert out + held == text[:end]
        assert held == "" or any(stop.startswith(held) and stop != held for stop in stops)


@pytest.mark.parametrize("include", [False, True])
@pytest.mark.parametrize(
    ("stops", "text", "before", "stop"),
    [
        (["END"], "one END two END", "one ", "END"),
        (["two", "one"], "one two", "", "one"),
        (["a b c", "b"], "x a b c", "x a ", "b"),  # nested: the inner one is complete first
        (["bc", "abc"], "xabcd", "x", "abc"),  # complete at the same character: the longest
        (["abcd", "cde"], "xabcde", "x", "abcd"),  # overlapping
        (["\n\n"], "line\n\nnext", "line", "\n\n"),
        (["aa"], "baaa", "b", "aa"),
        (["世界"], "你好世界!", "你好", "世界"),
        (["x"], "end x", "end ", "x"),  # begins and ends in the last piece
        (["never"], "it is nev", "it is nev", ""),
        ([""], "an empty stop stops nothing", "an empty stop stops nothing", ""),
        ([], "no stop", "no stop", ""),
    ],
)
def test_every_cut_in_two_gives_the_same_result(
    stops: list[str], text: str, before: str, stop: str, include: bool
) -> None:
    expected = (before + stop if include else before, stop or None)

    assert {read_in_pieces(cut(text, [cut_at]), stops, include) for cut_at in range(len(text) + 1)} == {expected}
    assert read_in_pieces(list(text), stops, include) == expected


def test_no_text_is_returned_after_a_stop() -> None:
    checker = StopChecker(["!"], include=True)

    assert [checker.push("Hi! you"), checker.push(" there!"), checker.flush()] == ["Hi!", "", ""]


def test_text_without_stops_is_returned_at_once() -> None:
    checker = StopChecker([], include=False)

    assert [checker.push(piece) for piece in ("a", "", "bc")] == ["a", "", "bc"]


def test_held_back_text_is_returned_once_at_the_end() -> None:
    checker = StopChecker(["###"], include=False)

    assert [checker.push("a##"), checker.flush(), checker.flush()] == ["a", "##", ""]
