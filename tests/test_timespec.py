"""Parsers of durations and times."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossette.timespec import parse_duration, parse_future, parse_past

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "past", "future"),
    [
        ("7d", NOW - timedelta(days=7), NOW + timedelta(days=7)),
        ("24h", NOW - timedelta(hours=24), NOW + timedelta(hours=24)),
        ("2026-11-01", *[datetime(2026, 11, 1, tzinfo=UTC)] * 2),
        ("2026-11-01T12:30", *[datetime(2026, 11, 1, 12, 30, tzinfo=UTC)] * 2),
        ("2026-11-01T12:30:10Z", *[datetime(2026, 11, 1, 12, 30, 10, tzinfo=UTC)] * 2),
        ("2026-11-01T12:30+02:00", *[datetime(2026, 11, 1, 10, 30, tzinfo=UTC)] * 2),
    ],
)
def test_a_time_is_parsed(text: str, past: datetime, future: datetime) -> None:
    assert (parse_past(text, NOW), parse_future(text, NOW)) == (past, future)


@pytest.mark.parametrize("text", ["", "7", "d", "7w", "-7d", "2026-13-01", "2026-11-01 12:00", "٣d", "7d\n"])
def test_the_error_for_an_invalid_time_has_the_valid_formats(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a time\. Give 7d, 24h, 2026-11-01 or"):
        parse_past(text, NOW)


def test_a_duration_is_parsed_or_rejected() -> None:
    assert (parse_duration("0h"), parse_duration("3d")) == (timedelta(), timedelta(days=3))
    with pytest.raises(ValueError, match=r"'soon' is not a duration\. Give days or hours: 7d, 24h\."):
        parse_duration("soon")


@given(st.text(max_size=20) | st.from_regex(r"\A[0-9]{1,6}[dh]\Z|\A[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:+Z-]*\Z"))
def test_any_text_is_a_time_in_utc_or_a_value_error(text: str) -> None:
    try:
        assert parse_past(text, NOW).tzinfo is UTC
    except ValueError as error:
        assert "Give 7d" in str(error)
