"""The ledger while its database is away, or refuses rows: they wait, and what is lost is counted and told."""

from __future__ import annotations

import logging
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import psycopg
import pytest

from crossette.accounts.database import ledger_writer as module
from crossette.accounts.database.database import Database
from crossette.accounts.database.ledger_writer import DatabaseLedger
from crossette.errors import StoreError
from support.ledger_entries import make_entry
from support.ledgers import LIMIT_S, ids, running, wait_for
from support.postgres import Cluster, admin

pytestmark = pytest.mark.slow


class Away(Database):
    """A database that a test takes away, and brings back."""

    is_away = False
    num_refused = 0

    @contextmanager
    def write(self) -> Iterator[Any]:
        if self.is_away:
            self.num_refused += 1
            raise StoreError("Can't write it: it is away")
        with super().write() as connection:
            yield connection


@pytest.fixture
def away(database_url: str) -> Iterator[Away]:
    made = Away(database_url)
    made.migrate()
    yield made
    made.close()


def test_rows_wait_for_a_database_that_is_away(away: Away, caplog: pytest.LogCaptureFixture) -> None:
    entries = [make_entry() for _ in range(module.BATCH_ROWS + 3)]
    with running(away) as ledger:
        away.is_away = True
        for entry in entries:
            ledger.note(entry)
        wait_for(ledger, waiting=len(entries))
        while away.num_refused < 2:
            Event().wait(0.01)
        away.is_away = False
        wait_for(ledger, written=len(entries), waiting=0, lost=0)

    assert ids(away) == sorted(entry.id for entry in entries)
    assert [record.getMessage() for record in caplog.records] == [
        "The ledger waits, with up to 20000 rows, until it can be written: Can't write it: it is away",
        "The ledger is up to date. Lost since the server's start: 0 rows",
    ]


def test_a_database_that_a_newer_version_has_moved_on_still_takes_rows(away: Away) -> None:
    """As in the middle of an upgrade: it is locked for a while, and then has columns that this version ignores."""
    with running(away) as ledger:
        away.is_away = True
        ledger.note(make_entry(id="one"))
        while not away.num_refused:
            Event().wait(0.01)
        with Database.write(away) as connection:
            connection.exec_driver_sql("ALTER TABLE requests ADD COLUMN more integer")
            connection.exec_driver_sql("UPDATE alembic_version SET version_num = 'newer'")
        away.is_away = False
        wait_for(ledger, written=1, lost=0)


def test_what_finds_no_room_is_lost_counted_and_told(
    away: Away, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 10)
    away.is_away = True
    entries = [make_entry() for _ in range(14)]
    with running(away) as ledger:
        for entry in entries:
            ledger.note(entry)
        assert (ledger.stats().waiting, ledger.stats().lost) == (10, 4)
        away.is_away = False
        wait_for(ledger, written=10, waiting=0, lost=4)

    assert ids(away) == sorted(entry.id for entry in entries[:10])
    told = [record.getMessage() for record in caplog.records]
    assert told.count("The ledger is up to date. Lost since the server's start: 4 rows") == 1


LARGE = [
    {"request_content": "x" * 3000, "answer_content": "y" * 3000},
    {"metadata": {"k" * 64: "v" * 6000}},
    {"user": "x" * 3000, "client": "y" * 3000},
    {"model": "\U0001f600" * 1500},
]


@pytest.mark.parametrize("content", LARGE, ids=lambda content: "-".join(content))
def test_content_that_waits_is_bounded_too(
    away: Away, monkeypatch: pytest.MonkeyPatch, content: dict[str, Any]
) -> None:
    monkeypatch.setattr(module, "MAX_CONTENT", 10_000)
    away.is_away = True
    with running(away, keeps_content=True) as ledger:
        for _ in range(4):
            ledger.note(make_entry(**content))
        assert (ledger.stats().waiting, ledger.stats().lost) == (2, 2)
        away.is_away = False
        wait_for(ledger, written=2)
        ledger.note(make_entry(request_content="x" * 9000, answer_content=""))
        wait_for(ledger, written=3, lost=2)


def test_rows_that_wait_take_no_more_memory_than_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A tenth of them, as large as the API lets them be."""
    monkeypatch.setattr(module, "MAX_WAITING", module.MAX_WAITING // 10)
    monkeypatch.setattr(module, "MAX_CONTENT", module.MAX_CONTENT // 10)
    ledger = DatabaseLedger(Database(f"sqlite:///{tmp_path}/crossette.db"))
    tracemalloc.start()
    try:
        for row in range(module.MAX_WAITING):
            metadata = {f"{row:08d}{place:056d}": f"{row:08d}{place:0504d}" for place in range(16)}
            ledger.note(make_entry(metadata=metadata, client=f"{row:0200d}", user=f"{row:0200d}"))
        del metadata
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert ledger.stats().lost > 0
    assert taken < module.MAX_CONTENT + 2 * 2**20 * 1.25


def test_what_still_waits_at_the_end_is_told_as_lost(away: Away, caplog: pytest.LogCaptureFixture) -> None:
    away.is_away = True
    with caplog.at_level(logging.WARNING), running(away) as ledger:
        for _ in range(5):
            ledger.note(make_entry())

    assert caplog.records[-1].getMessage() == "The ledger has lost 5 rows: Can't write it: it is away"
    assert (ledger.stats().lost, ledger.stats().waiting) == (5, 0)


def test_a_file_that_was_deleted_is_made_again(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/crossette.db")
    database.migrate()
    with running(database) as ledger:
        for file in tmp_path.iterdir():
            file.unlink()
        ledger.note(make_entry(id="later"))
        wait_for(ledger, written=1, lost=0)

    assert ids(database) == ["later"]


@pytest.mark.all
def test_postgres_may_go_and_come_back(
    postgres: Cluster, on_postgres: Database, caplog: pytest.LogCaptureFixture
) -> None:
    with running(on_postgres) as ledger:
        ledger.note(make_entry(id="before"))
        wait_for(ledger, written=1)
        postgres.stop()
        for number in range(3):
            ledger.note(make_entry(id=f"meanwhile-{number}"))
        while not any("The ledger waits" in record.getMessage() for record in caplog.records):
            Event().wait(0.01)
        postgres.start()
        wait_for(ledger, written=4, waiting=0, lost=0)

    assert ids(on_postgres) == ["before", "meanwhile-0", "meanwhile-1", "meanwhile-2"]


@pytest.fixture
def on_postgres(postgres: Cluster) -> Iterator[Database]:
    made = Database(postgres.emptied())
    made.migrate()
    yield made
    made.close()


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Turns of a tenth of a second."""
    for name, value in (("BATCH_S", 0.05), ("RETRY_S", 0.05), ("PATIENCE", 2)):
        monkeypatch.setattr(module, name, value)


@pytest.mark.all
def test_rows_wait_for_a_postgres_that_is_read_only(
    postgres: Cluster, on_postgres: Database, hasty: None, caplog: pytest.LogCaptureFixture
) -> None:
    """As after a failover, and for longer than it takes to suspect a row."""
    with running(on_postgres) as ledger, admin(postgres.url) as owner:
        ledger.note(make_entry(id="before"))
        wait_for(ledger, written=1)
        try:
            set_read_only(owner, postgres.url, "on")
            for number in range(3):
                ledger.note(make_entry(id=f"meanwhile-{number}"))
            wait_for_refusals(ledger)
            assert (ledger.stats().waiting, ledger.stats().lost) == (3, 0)
        finally:
            set_read_only(owner, postgres.url, "off")
        wait_for(ledger, written=4, waiting=0, lost=0)

    assert ids(on_postgres) == ["before", "meanwhile-0", "meanwhile-1", "meanwhile-2"]
    first, second = caplog.records  # and nothing of the driver's
    assert "read-only transaction" in first.getMessage()
    assert "is up to date" in second.getMessage()


def set_read_only(owner: psycopg.Connection, url: str, value: str) -> None:
    """Come back when it holds: the server only promises to read its settings again."""
    owner.execute(f"ALTER SYSTEM SET default_transaction_read_only = {value}")
    owner.execute("SELECT pg_reload_conf()")
    for _ in range(LIMIT_S * 100):
        with psycopg.connect(url) as connection:
            if connection.execute("SHOW default_transaction_read_only").fetchall() == [(value,)]:
                return
        Event().wait(0.01)
    raise AssertionError(f"It is never {value}")


def wait_for_refusals(ledger: DatabaseLedger) -> None:
    """Come back when rows were tried in one batch, and then one by one."""
    for sought in (module.PATIENCE, 1):
        for _ in range(LIMIT_S * 100):
            if ledger._num_refusals == sought:
                break
            Event().wait(0.01)
        assert ledger._num_refusals == sought


def test_rows_wait_for_a_table_that_was_dropped(database: Database, hasty: None) -> None:
    with running(database) as ledger:
        with database.write() as connection:
            connection.exec_driver_sql("ALTER TABLE requests RENAME TO elsewhere")
        ledger.note(make_entry(id="one"))
        ledger.note(make_entry(id="two"))
        wait_until_told(ledger, "requests")
        assert (ledger.stats().waiting, ledger.stats().lost) == (2, 0)
        with database.write() as connection:
            connection.exec_driver_sql("ALTER TABLE elsewhere RENAME TO requests")
        wait_for(ledger, written=2, waiting=0, lost=0)

    assert ids(database) == ["one", "two"]


def wait_until_told(ledger: DatabaseLedger, word: str) -> None:
    for _ in range(LIMIT_S * 100):
        if word in (ledger._failure or ""):
            return
        Event().wait(0.01)
    raise AssertionError(ledger._failure)


@pytest.mark.all
def test_a_row_that_is_refused_for_ever_does_not_block_the_others_for_ever(
    on_postgres: Database, hasty: None, caplog: pytest.LogCaptureFixture
) -> None:
    """It is lost once the database takes others beside it, and never to one that takes none."""
    refuse(on_postgres, "poison")
    with running(on_postgres) as ledger:
        ledger.note(make_entry(id="poison", request_id="the-bad-one"))
        wait_for_refusals(ledger)
        assert (ledger.stats().waiting, ledger.stats().lost) == (1, 0)
        ledger.note(make_entry(id="one"))
        ledger.note(make_entry(id="two"))
        wait_for(ledger, written=2, waiting=0, lost=1)

    assert ids(on_postgres) == ["one", "two"]
    assert any("lost the row of request the-bad-one: not this" in record.getMessage() for record in caplog.records)


def refuse(database: Database, id_: str) -> None:
    """By a trigger, with an error that is not about values."""
    body = f"IF NEW.id = '{id_}' THEN RAISE feature_not_supported USING MESSAGE = 'not this'; END IF; RETURN NEW;"
    with database.write() as connection:
        connection.exec_driver_sql(
            f"CREATE FUNCTION refusing() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} END $$"
        )
        connection.exec_driver_sql(
            "CREATE TRIGGER refusing BEFORE INSERT ON requests FOR EACH ROW EXECUTE FUNCTION refusing()"
        )
