"""Ledger entries with sane defaults, and a ledger in memory."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import count
from typing import Any

from crossette.accounts.ledger import Entry, NoLedger
from crossette.types import Usage

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)

_numbers = count()


class InMemoryLedger(NoLedger):
    """A ledger that keeps its entries in memory."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def note(self, entry: Entry) -> None:
        self.entries.append(entry)

    def used_tokens(self, key_id: str) -> int:
        return sum(entry.usage.total_tokens for entry in self.entries if entry.key_id == key_id)


def make_entry(prompt: int = 10, completion: int = 5, cached: int = 0, **fields: Any) -> Entry:
    number = next(_numbers)
    defaults: dict[str, Any] = {
        "id": f"cmpl-{number}",
        "request_id": f"request-{number}",
        "time": NOW,
        "key_id": "key-a",
        "dialect": "openai",
        "endpoint": "/completions",
        "model": "fake",
        "status": 200,
        "total_s": 0.5,
        "usage": Usage(prompt, completion, cached_tokens=cached),
    }
    return Entry(**(defaults | fields))
