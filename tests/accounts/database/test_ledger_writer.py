"""The database ledger: every row is written or counted as lost, and callers never wait."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from crossette.accounts.database import ledger_writer as module
from crossette.accounts.database.database import Database
from crossette.accounts.database.rows import row_of
from crossette.accounts.ledger import Entry, LedgerStats
from crossette.accounts.prices import Price
from crossette.types import Usage
from support.ledger_entries import NOW, make_entry
from support.ledgers import LIMIT_S, ids, kept, running, wait_for


def test_a_row_has_all_fields_of_the_entry(database: Database) -> None:
    entry = Entry(
        "chatcmpl-1",
        "mine",
        NOW,
        "key-a",
        "fireworks",
        "/chat/completions",
        "fake",
        200,
        1.5,
        0.25,
        "stop,length",
        Usage(10, 5, cached_tokens=4, reasoning_tokens=2),
        "curl/8",
        "someone",
        {"a": "b"},
        "{}",
        "data: 1",
    )
    with running(database, prices={"fake": Price(1e6, 0, 2e6)}) as ledger:
        ledger.note(entry)

    assert kept(database) == [row_of(entry, {}) | {"cost": 6.0 + 10.0}]
    assert kept(database)[0] == {
        "id": "chatcmpl-1",
        "request_id": "mine",
        "time": NOW,
        "key_id": "key-a",
        "batch_id": "",
        "dialect": "fireworks",
        "endpoint": "/chat/completions",
        "model": "fake",
        "is_served": True,
        "status": 200,
        "finish_reason": "stop,length",
        "prompt_tokens": 10,
        "cached_tokens": 4,
        "completion_tokens": 5,
        "reasoning_tokens": 2,
        "first_token_s": 0.25,
        "total_s": 1.5,
        "cost": 16.0,
        "client": "curl/8",
        "user": "someone",
        "metadata": {"a": "b"},
        "request_content": "{}",
        "answer_content": "data: 1",
    }


def test_closing_writes_the_queued_rows(database: Database) -> None:
    entries = [make_entry() for _ in range(3 * module.BATCH_ROWS + 7)]
    with running(database) as ledger:
        for entry in entries:
            ledger.note(entry)

    assert ids(database) == sorted(entry.id for entry in entries)
    assert ledger.stats() == LedgerStats(written=len(entries))


@pytest.mark.slow
def test_rows_are_written_in_the_background(database: Database) -> None:
    with running(database) as ledger:
        ledger.note(make_entry())
        wait_for(ledger, written=1, waiting=0)

        assert len(kept(database)) == 1


def test_rows_that_arrive_during_a_write_wait_for_the_next_cycle(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a busy server would write all the time, with a transaction per row."""
    monkeypatch.setattr(module, "BATCH_S", 10 * LIMIT_S)
    events: list[str] = []
    write = database.write

    @contextmanager
    def recording() -> Iterator[Any]:
        events.append("write")
        if len(events) == 1:
            ledger.note(make_entry())
        with write() as connection:
            yield connection

    monkeypatch.setattr(database, "write", recording)
    with running(database) as ledger:
        for _ in range(module.BATCH_ROWS):
            ledger.note(make_entry())
        wait_for(ledger, written=module.BATCH_ROWS, waiting=1)
        events.append("close")

    assert events == ["write", "close", "write"]
    assert ledger.stats() == LedgerStats(written=module.BATCH_ROWS + 1)


@pytest.mark.slow
def test_an_existing_row_is_not_changed(database: Database) -> None:
    """A batch is written again after an unconfirmed commit."""
    entry = make_entry()
    with running(database) as ledger:
        ledger.note(entry)
        wait_for(ledger, written=1)
        ledger.note(replace(entry, status=500))
        ledger.note(make_entry(id="other"))

    assert [(row["id"], row["status"]) for row in kept(database)] == [(entry.id, 200), ("other", 200)]


def test_characters_that_no_database_accepts_are_replaced(database: Database) -> None:
    odd = "a\0b\ud800c"
    entry = make_entry(model=odd, client=odd, user=odd, metadata={odd: odd}, request_content=odd, answer_content=odd)
    with running(database, keeps_content=True) as ledger:
        ledger.note(entry)

    (row,) = kept(database)
    clean = "a\ufffdb?c"
    assert [row[name] for name in ("model", "client", "user", "request_content", "answer_content")] == [clean] * 5
    assert row["metadata"] == {clean: clean}


@pytest.mark.slow
def test_a_row_that_the_database_rejects_does_not_affect_the_others(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    entries = [make_entry(), make_entry(dialect=None, request_id="the-bad-one"), make_entry()]
    with running(database) as ledger:
        for entry in entries:
            ledger.note(entry)
        wait_for(ledger, written=2, lost=1, waiting=0)

    assert ids(database) == sorted([entries[0].id, entries[2].id])
    messages = [record.getMessage() for record in caplog.records if record.name.startswith("crossette")]
    assert messages[0].startswith("The ledger has lost the row of request the-bad-one: ")
