"""Incremental detokenization: characters stay complete, wherever tokens cut them."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossette.text.detokenizer import Detokenizer


def read(pieces: list[bytes]) -> str:
    detokenizer = Detokenizer()
    return "".join(map(detokenizer.push, pieces))


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(min(cut_at, len(data)) for cut_at in cuts), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


@given(st.text(), st.lists(st.integers(0, 60)))
def test_text_survives_any_cut_of_its_bytes(text: str, cuts: list[int]) -> None:
    assert read(cut(text.encode(), cuts)) == text


@given(st.binary(), st.lists(st.integers(0, 60)))
def test_invalid_bytes_give_the_same_text_wherever_they_are_cut(data: bytes, cuts: list[int]) -> None:
    assert read(cut(data, cuts)) == read([data])
    assert read([data, b"."]).startswith(read([data]))


@given(st.binary())
def test_invalid_bytes_become_replacement_characters(data: bytes) -> None:
    """A full stop after them ends an incomplete last character."""
    assert read([data, b"."]) == (data + b".").decode("utf-8", "replace")


@pytest.mark.parametrize("text", ["é", "世", "🎆"])
def test_an_incomplete_character_is_held_back(text: str) -> None:
    *first, last = [bytes([byte]) for byte in text.encode()]
    detokenizer = Detokenizer()

    assert [detokenizer.push(byte) for byte in first] == [""] * len(first)
    assert detokenizer.push(last) == text


def test_control_tokens_do_not_change_the_text() -> None:
    assert read([b"a", b"", b"\xc3", b"", b"\xa9", b""]) == "aé"


def test_a_character_that_stays_incomplete_is_dropped() -> None:
    assert read([b"abc", b"\xf0\x9f\x8e"]) == "abc"
