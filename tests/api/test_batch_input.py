"""The lines of an input file, wherever it is cut into parts."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossette.api.batches.input_file import MAX_ERRORS, MAX_LINES, lines, parsed, validate
from support.batch_files import CHAT, chat_line, jsonl


def is_chat(url: str) -> bool:
    return url == CHAT


def cut(raw: bytes, places: list[int]) -> list[bytes]:
    """The bytes in parts; the first has at least three, as the first part of a file."""
    ends = sorted({max(3, place % (len(raw) + 1)) for place in places})
    return [raw[start:end] for start, end in zip([0, *ends], [*ends, len(raw)], strict=True)]


@given(
    st.lists(st.sampled_from([b"", b" ", b"\t\r", b"{}", b"abc", "é€".encode(), b"x" * 70_000]), max_size=6),
    st.lists(st.integers(0, 200_000), max_size=6),
    st.sampled_from([b"", b"\xef\xbb\xbf"]),
)
def test_lines_do_not_depend_on_the_parts(texts: list[bytes], places: list[int], mark: bytes) -> None:
    raw = mark + b"\n".join(texts)
    limit = 64 * 1024 + 100

    found = list(lines(cut(raw, places), 100))

    expected = [(number, text[:limit], len(text) >= limit) for number, text in enumerate(texts, 1) if text.strip()]
    assert [(line.number, line.data, line.is_cut) for line in found] == expected


def test_a_line_longer_than_any_request_is_an_error() -> None:
    file = validate([jsonl([chat_line("a", "x" * 100_000)])], is_chat, max_body_bytes=1000)

    assert [(error.line, error.code) for error in file.errors] == [(1, "line_too_long")]


def test_more_lines_than_a_batch_may_have_are_an_error() -> None:
    body = json.dumps(chat_line("ID", "x"))
    raw = "\n".join(body.replace("ID", str(number)) for number in range(MAX_LINES + 5)).encode()

    file = validate([raw], is_chat, 10_000)

    assert [(error.line, error.code) for error in file.errors] == [(MAX_LINES + 1, "too_many_tasks")]
    assert validate([raw], is_chat, 10_000, max_lines=None).errors == []


def test_the_list_of_errors_is_bounded() -> None:
    assert len(validate([b"x\n" * 1000], is_chat, 10_000).errors) == MAX_ERRORS


@pytest.mark.parametrize("depth", [10, 100_000])
def test_a_deep_line_is_an_error_or_a_request_but_no_crash(depth: int) -> None:
    line = chat_line("a", "x")
    raw = json.dumps(line)[:-2].encode() + b', "x": ' + b"[" * depth + b"]" * depth + b"}}"

    file = validate([raw], is_chat, 2**20)

    assert file.total == 1


def test_a_body_is_passed_on_as_it_is() -> None:
    body = b'{ "model" : "fake", "seed": 1.0,\t"messages": [] }'
    raw = b'{"custom_id": "a", "method": "POST", "url": "%s", "body": %s}' % (CHAT.encode(), body)
    (line,) = lines([raw], 1000)

    assert parsed(line, is_chat).body == body
