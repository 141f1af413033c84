"""Stop strings, found wherever the text is cut, against reading one character after the other."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from crossette.text.stop import StopChecker

Result = tuple[str, bool]
"""The whole text that came out, and whether a stop was found."""


def read_in_pieces(pieces: list[str], stops: list[str], include: bool) -> Result:
    checker = StopChecker(stops, include=include)
    text = "".join(checker.push(piece) for piece in pieces)
    return text + checker.flush(), checker.stopped


def read_by_character(text: str, stops: list[str], include: bool) -> Result:
    """The obvious way: after each character, does the text now end with a stop?"""
    for end in range(len(text) + 1):
        found = [stop for stop in stops if stop and text[:end].endswith(stop)]
        if found:
            return text[: end if include else end - max(map(len, found))], True
    return text, False


def cut(text: str, places: list[int]) -> list[str]:
    edges = [0, *sorted(min(place, len(text)) for place in places), len(text)]
    return [text[a:b] for a, b in pairwise(edges)]


letters = st.text("ab\n", max_size=24)
stop_strings = st.lists(st.text("ab\n", max_size=5), max_size=4)


@given(letters, stop_strings, st.lists(st.integers(0, 24), max_size=8), st.booleans())
def test_however_it_is_cut_the_result_is_that_of_reading_by_character(
    text: str, stops: list[str], places: list[int], include: bool
) -> None:
    assert read_in_pieces(cut(text, places), stops, include) == read_by_character(text, stops, include)


@given(letters, stop_strings)
@example("aaab", ["aab"])
@example("abab\n", ["abb", "bab\n", "a\n"])
def test_what_comes_out_is_never_taken_back_and_nothing_is_held_that_cannot_be_a_stop(
    text: str, stops: list[str]
) -> None:
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
        (["a b c", "b"], "x a b c", "x a ", "b"),  # one inside another: the inner is complete first
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
def test_each_cut_in_two_gives_the_same(stops: list[str], text: str, before: str, stop: str, include: bool) -> None:
    expected = (before + stop if include else before, bool(stop))

    assert {read_in_pieces(cut(text, [place]), stops, include) for place in range(len(text) + 1)} == {expected}
    assert read_in_pieces(list(text), stops, include) == expected


def test_after_a_stop_nothing_more_comes() -> None:
    checker = StopChecker(["!"], include=True)

    assert [checker.push("Hi! you"), checker.push(" there!"), checker.flush()] == ["Hi!", "", ""]


def test_text_without_stops_passes_at_once() -> None:
    checker = StopChecker([], include=False)

    assert [checker.push(piece) for piece in ("a", "", "bc")] == ["a", "", "bc"]


def test_what_was_held_back_comes_at_the_end_once() -> None:
    checker = StopChecker(["###"], include=False)

    assert [checker.push("a##"), checker.flush(), checker.flush()] == ["a", "##", ""]
