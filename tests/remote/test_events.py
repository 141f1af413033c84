"""Server-sent events, cut anywhere, and `retry-after` in any notation."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossette.errors import UpstreamFailed
from crossette.remote import events
from crossette.remote.events import EventParser
from crossette.remote.failures import retry_after_s


@given(
    texts=st.lists(st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]))),
    end=st.sampled_from(["\n", "\r\n"]),
    cuts=st.lists(st.integers(0, 500)),
)
def test_events_do_not_depend_on_the_pieces(texts: list[str], end: str, cuts: list[int]) -> None:
    stream = "".join(f": comment{end}event: x{end}data: {text}{end}{end}" for text in texts).encode()
    edges = sorted({0, len(stream), *(min(cut, len(stream)) for cut in cuts)})
    parser = EventParser()
    found = [event for begin, stop in pairwise(edges) for event in parser.push(stream[begin:stop])]

    assert found == [text.encode() for text in texts]


def test_several_lines_are_one_event() -> None:
    assert list(EventParser().push(b"data: a\ndata:b\n\n\n")) == [b"a\nb"]


def test_an_event_has_a_maximum_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "MAX_EVENT_BYTES", 10)
    parser = EventParser()
    assert list(parser.push(b"data: 1\n")) == []
    with pytest.raises(UpstreamFailed):
        list(parser.push(b"data: 2345678901\n"))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("7", 7), ("1.5", 1.5), ("0", 1), ("-5", 1), ("nan", 1), ("inf", 86_400), ("soon", 1), ("", 1)],
)
def test_retry_after_is_read(text: str, seconds: float) -> None:
    assert retry_after_s({"retry-after": text}) == seconds


def test_retry_after_may_be_a_date() -> None:
    text = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    assert 90 < retry_after_s({"retry-after": text}) <= 100
