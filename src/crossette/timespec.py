"""Parsers for durations and points in time: `7d`, `24h`, `2026-11-01`, `2026-11-01T12:00Z`."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

DURATION_PATTERN = r"\d{1,5}[dh]"
PATTERN = rf"^({DURATION_PATTERN}|\d{{4}}-\d\d-\d\d(T\d\d:\d\d(:\d\d)?(Z|[+-]\d\d:\d\d)?)?)$"


def parse_duration(text: str) -> timedelta:
    """Parse days or hours. Raises ValueError with the valid formats."""
    if not re.fullmatch(DURATION_PATTERN, text, re.ASCII):
        raise ValueError(f"{text!r} is not a duration. Give days or hours: 7d, 24h.")
    return timedelta(days=int(text[:-1])) if text[-1] == "d" else timedelta(hours=int(text[:-1]))


def parse_past(text: str, now: datetime) -> datetime:
    """Parse a time in UTC; a duration is subtracted from `now`. Raises ValueError with the valid formats."""
    return _parse(text, now, -1)


def parse_future(text: str, now: datetime) -> datetime:
    """Parse a time in UTC; a duration is added to `now`. Raises ValueError with the valid formats."""
    return _parse(text, now, 1)


def _parse(text: str, now: datetime, sign: int) -> datetime:
    message = f"{text!r} is not a time. Give 7d, 24h, 2026-11-01 or 2026-11-01T12:00Z."
    if not re.fullmatch(PATTERN, text, re.ASCII):
        raise ValueError(message)
    try:
        if text[-1] in "dh":
            return now + sign * parse_duration(text)
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(message) from None
