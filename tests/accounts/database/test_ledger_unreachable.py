"""The ledger while its database is unreachable or rejects rows: it queues them and counts lost ones."""

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
from crossette.errors import DatabaseError
from support.ledger_entries import make_entry
from support.ledgers import LIMIT_S, ids, running, wait_for
from support.postgres import Cluster, admin

pytestmark = pytest.mark.slow


class UnreachableDatabase(Database):
    """A database that a test makes unreachable, and reachable again."""

    is_unreachable = False
    num_rejected = 0

    @contextmanager
    def write(self) -> Iterator[Any]:
        if self.is_unreachable:
            self.num_rejected += 1
            raise DatabaseError("Can't write it: unreachable")
        with super().write() as connection:
            yield connection


@pytest.fixture
def database(database_url: str) -> Iterator[UnreachableDatabase]:
    made = UnreachableDatabase(database_url)
    made.migrate()
    yield made
    made.close()


def test_rows_wait_for_an_unreachable_database(database: UnreachableDatabase, caplog: pytest.LogCaptureFixture) -> None:
    entries = [make_entry() for _ in range(module.BATCH_ROWS + 3)]
    with running(database) as ledger:
        database.is_unreachable = True
        for entry in entries:
            ledger.note(entry)
        wait_for(ledger, waiting=len(entries))
        while database.num_rejected < 2:
            Event().wait(0.01)
        database.is_unreachable = False
        wait_for(ledger, written=len(entries), waiting=0, lost=0)

    assert ids(database) == sorted(entry.id for entry in entries)
    assert [record.getMessage() for record in caplog.records] == [
        "Can't write the ledger. Up to 20000 rows are queued until it succeeds: Can't write it: unreachable",
        "The ledger is up to date. Rows lost since the start of the server: 0",
    ]


def test_a_database_migrated_by_a_newer_version_still_accepts_rows(database: UnreachableDatabase) -> None:
    """As during an upgrade: it is locked for a while, and then has columns that this version ignores."""
    with running(database) as ledger:
        database.is_unreachable = True
        ledger.note(make_entry(id="one"))
        while not database.num_rejected:
            Event().wait(0.01)
        with Database.write(database) as connection:
            connection.exec_driver_sql("ALTER TABLE requests ADD COLUMN more integer")
            connection.exec_driver_sql("UPDATE alembic_version SET version_num = 'newer'")
        database.is_unreachable = False
        wait_for(ledger, written=1, lost=0)


def test_rows_over_the_limit_are_lost_counted_and_logged(
    database: UnreachableDatabase, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 10)
    database.is_unreachable = True
    entries = [make_entry() for _ in range(14)]
    with running(database) as ledger:
        for entry in entries:
            ledger.note(entry)
        assert (ledger.stats().waiting, ledger.stats().lost) == (10, 4)
        database.is_unreachable = False
        wait_for(ledger, written=10, waiting=0, lost=4)

    assert ids(database) == sorted(entry.id for entry in entries[:10])
    messages = [record.getMessage() for record in caplog.records]
    assert messages.count("The ledger is up to date. Rows lost since the start of the server: 4") == 1


LARGE = [
    {"request_content": "x" * 3000, "answer_content": "y" * 3000},
    {"metadata": {"k" * 64: "v" * 6000}},
    {"user": "x" * 3000, "client": "y" * 3000},
    {"model": "\U0001f600" * 1500},
]


@pytest.mark.parametrize("content", LARGE, ids=lambda content: "-".join(content))
def test_queued_content_is_bounded_too(
    database: UnreachableDatabase, monkeypatch: pytest.MonkeyPatch, content: dict[str, Any]
) -> None:
    monkeypatch.setattr(module, "MAX_QUEUED_BYTES", 10_000)
    database.is_unreachable = True
    with running(database, keeps_content=True) as ledger:
        for _ in range(4):
            ledger.note(make_entry(**content))
        assert (ledger.stats().waiting, ledger.stats().lost) == (2, 2)
        database.is_unreachable = False
        wait_for(ledger, written=2)
        ledger.note(make_entry(request_content="x" * 9000, answer_content=""))
        wait_for(ledger, written=3, lost=2)


def test_queued_rows_take_no_more_memory_than_documented(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A tenth of the limit, with rows as large as the API allows."""
    monkeypatch.setattr(module, "MAX_WAITING", module.MAX_WAITING // 10)
    monkeypatch.setattr(module, "MAX_QUEUED_BYTES", module.MAX_QUEUED_BYTES // 10)
    ledger = DatabaseLedger(Database(f"sqlite:///{tmp_path}/crossette.db"))
    tracemalloc.start()
    try:
        for row in range(module.MAX_WAITING):
            metadata = {f"{row:08d}{index:056d}": f"{row:08d}{index:0504d}" for index in range(16)}
            ledger.note(make_entry(metadata=metadata, client=f"{row:0200d}", user=f"{row:0200d}"))
        del metadata
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert ledger.stats().lost > 0
    assert taken < module.MAX_QUEUED_BYTES + 2 * 2**20 * 1.25


def test_rows_still_queued_at_the_end_are_logged_as_lost(
    database: UnreachableDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    database.is_unreachable = True
    with caplog.at_level(logging.WARNING), running(database) as ledger:
        for _ in range(5):
            ledger.note(make_entry())

    assert caplog.records[-1].getMessage() == "The ledger has lost 5 rows: Can't write it: unreachable"
    assert (ledger.stats().lost, ledger.stats().waiting) == (5, 0)


def test_a_deleted_file_is_created_again(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/crossette.db")
    database.migrate()
    with running(database) as ledger:
        for file in tmp_path.iterdir():
            file.unlink()
        ledger.note(make_entry(id="later"))
        wait_for(ledger, written=1, lost=0)

    assert ids(database) == ["later"]


@pytest.mark.all
def test_postgres_may_stop_and_start_again(
    postgres: Cluster, on_postgres: Database, caplog: pytest.LogCaptureFixture
) -> None:
    with running(on_postgres) as ledger:
        ledger.note(make_entry(id="before"))
        wait_for(ledger, written=1)
        postgres.stop()
        for number in range(3):
            ledger.note(make_entry(id=f"meanwhile-{number}"))
        while not any("Can't write the ledger" in record.getMessage() for record in caplog.records):
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
    """Write cycles of a tenth of a second."""
    for name, value in (("BATCH_S", 0.05), ("RETRY_S", 0.05), ("MAX_REJECTED_BATCHES", 2)):
        monkeypatch.setattr(module, name, value)


@pytest.mark.all
def test_rows_wait_for_a_postgres_that_is_read_only(
    postgres: Cluster, on_postgres: Database, hasty: None, caplog: pytest.LogCaptureFixture
) -> None:
    """As after a failover, and for longer than it takes to insert rows one by one."""
    with running(on_postgres) as ledger, admin(postgres.url) as owner:
        ledger.note(make_entry(id="before"))
        wait_for(ledger, written=1)
        try:
            set_read_only(owner, postgres.url, "on")
            for number in range(3):
                ledger.note(make_entry(id=f"meanwhile-{number}"))
            wait_for_rejected_batches(ledger)
            assert (ledger.stats().waiting, ledger.stats().lost) == (3, 0)
        finally:
            set_read_only(owner, postgres.url, "off")
        wait_for(ledger, written=4, waiting=0, lost=0)

    assert ids(on_postgres) == ["before", "meanwhile-0", "meanwhile-1", "meanwhile-2"]
    first, second = caplog.records  # and no record of the driver
    assert "read-only transaction" in first.getMessage()
    assert "is up to date" in second.getMessage()


def set_read_only(owner: psycopg.Connection, url: str, value: str) -> None:
    """Return when the setting is in effect: `pg_reload_conf` only schedules the reload."""
    owner.execute(f"ALTER SYSTEM SET default_transaction_read_only = {value}")
    owner.execute("SELECT pg_reload_conf()")
    for _ in range(LIMIT_S * 100):
        with psycopg.connect(url) as connection:
            if connection.execute("SHOW default_transaction_read_only").fetchall() == [(value,)]:
                return
        Event().wait(0.01)
    raise AssertionError(f"It is never {value}")


def wait_for_rejected_batches(ledger: DatabaseLedger) -> None:
    """Return when rows were tried in one batch, and then one by one."""
    for sought in (module.MAX_REJECTED_BATCHES, 1):
        for _ in range(LIMIT_S * 100):
            if ledger._num_rejected_batches == sought:
                break
            Event().wait(0.01)
        assert ledger._num_rejected_batches == sought


def test_rows_wait_for_a_table_that_was_dropped(database: Database, hasty: None) -> None:
    with running(database) as ledger:
        with database.write() as connection:
            connection.exec_driver_sql("ALTER TABLE requests RENAME TO elsewhere")
        ledger.note(make_entry(id="one"))
        ledger.note(make_entry(id="two"))
        wait_until_failure_mentions(ledger, "requests")
        assert (ledger.stats().waiting, ledger.stats().lost) == (2, 0)
        with database.write() as connection:
            connection.exec_driver_sql("ALTER TABLE elsewhere RENAME TO requests")
        wait_for(ledger, written=2, waiting=0, lost=0)

    assert ids(database) == ["one", "two"]


def wait_until_failure_mentions(ledger: DatabaseLedger, text: str) -> None:
    for _ in range(LIMIT_S * 100):
        if text in (ledger._failure or ""):
            return
        Event().wait(0.01)
    raise AssertionError(ledger._failure)


@pytest.mark.all
def test_a_row_that_is_always_rejected_does_not_block_the_others_forever(
    on_postgres: Database, hasty: None, caplog: pytest.LogCaptureFixture
) -> None:
    """It is lost once the database accepts others, and kept while the database accepts none."""
    reject(on_postgres, "poison")
    with running(on_postgres) as ledger:
        ledger.note(make_entry(id="poison", request_id="the-bad-one"))
        wait_for_rejected_batches(ledger)
        assert (ledger.stats().waiting, ledger.stats().lost) == (1, 0)
        ledger.note(make_entry(id="one"))
        ledger.note(make_entry(id="two"))
        wait_for(ledger, written=2, waiting=0, lost=1)

    assert ids(on_postgres) == ["one", "two"]
    assert any("lost the row of request the-bad-one: not this" in record.getMessage() for record in caplog.records)


def reject(database: Database, id_: str) -> None:
    """Reject a row by a trigger, with an error that is not about values."""
    body = f"IF NEW.id = '{id_}' THEN RAISE feature_not_supported USING MESSAGE = 'not this'; END IF; RETURN NEW;"
    with database.write() as connection:
        connection.exec_driver_sql(
            f"CREATE FUNCTION rejecting() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} END $$"
        )
        connection.exec_driver_sql(
            "CREATE TRIGGER rejecting BEFORE INSERT ON requests FOR EACH ROW EXECUTE FUNCTION rejecting()"
        )
