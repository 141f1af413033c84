"""The ledger: every row arrives, or is counted as lost; nothing waits for it."""

from __future__ import annotations

import logging
import tracemalloc
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from crossette.errors import InvalidRequest, StoreError
from crossette.ledger import GROUPS, Entry, LedgerStats, UsageQuery, UsageRow, parse_query
from crossette.store import ledger as module
from crossette.store.database import Database
from crossette.store.days import usage_rows, used_tokens
from crossette.store.keys import Keys
from crossette.store.ledger import DatabaseLedger
from crossette.store.prices import Price
from crossette.store.rows import delete_rows, insert_rows, row_of
from crossette.store.tables import days, requests
from crossette.types import Usage
from ledger_entries import NOW, make_entry

LIMIT_S = 60


@contextmanager
def running(database: Database, **settings: Any) -> Iterator[DatabaseLedger]:
    ledger = DatabaseLedger(database, **settings)
    ledger.load()
    ledger.start()
    try:
        yield ledger
    finally:
        ledger.close()


def kept(database: Database) -> list[dict[str, Any]]:
    with database.read() as connection:
        return [dict(row) for row in connection.execute(select(requests)).mappings()]


def ids(database: Database) -> list[str]:
    return sorted(row["id"] for row in kept(database))


def wait_for(ledger: DatabaseLedger, **counts: int) -> None:
    """Come back when the ledger's stats have these counts."""
    pause = Event()
    for _ in range(LIMIT_S * 100):
        if all(getattr(ledger.stats(), name) == count for name, count in counts.items()):
            return
        pause.wait(0.01)
    raise AssertionError(f"{ledger.stats()} never came to {counts}")


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


# --- rows ---


def test_a_row_has_everything_that_the_entry_says(database: Database) -> None:
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
        "dialect": "fireworks",
        "endpoint": "/chat/completions",
        "model": "fake",
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


def test_closing_writes_what_waits(database: Database) -> None:
    entries = [make_entry() for _ in range(3 * module.BATCH_ROWS + 7)]
    with running(database) as ledger:
        for entry in entries:
            ledger.note(entry)

    assert ids(database) == sorted(entry.id for entry in entries)
    assert ledger.stats() == LedgerStats(written=len(entries))


def test_rows_come_into_the_database_by_themselves(database: Database) -> None:
    with running(database) as ledger:
        ledger.note(make_entry())
        wait_for(ledger, written=1, waiting=0)

        assert len(kept(database)) == 1


def test_what_comes_while_rows_are_written_waits_for_the_next_turn(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a busy server would write all the time, a transaction for each row."""
    monkeypatch.setattr(module, "BATCH_S", 10 * LIMIT_S)
    happened: list[str] = []
    write = database.write

    @contextmanager
    def noting() -> Iterator[Any]:
        happened.append("write")
        if len(happened) == 1:
            ledger.note(make_entry())
        with write() as connection:
            yield connection

    monkeypatch.setattr(database, "write", noting)
    with running(database) as ledger:
        for _ in range(module.BATCH_ROWS):
            ledger.note(make_entry())
        wait_for(ledger, written=module.BATCH_ROWS, waiting=1)
        happened.append("close")

    assert happened == ["write", "close", "write"]
    assert ledger.stats() == LedgerStats(written=module.BATCH_ROWS + 1)


def test_a_row_that_is_there_already_is_left_alone(database: Database) -> None:
    """A batch is written again where its commit was not confirmed."""
    entry = make_entry()
    with running(database) as ledger:
        ledger.note(entry)
        wait_for(ledger, written=1)
        ledger.note(replace(entry, status=500))
        ledger.note(make_entry(id="other"))

    assert [(row["id"], row["status"]) for row in kept(database)] == [(entry.id, 200), ("other", 200)]


def test_characters_that_no_database_takes_are_replaced(database: Database) -> None:
    odd = "a\0b\ud800c"
    entry = make_entry(model=odd, client=odd, user=odd, metadata={odd: odd}, request_content=odd, answer_content=odd)
    with running(database, keeps_content=True) as ledger:
        ledger.note(entry)

    (row,) = kept(database)
    clean = "a\ufffdb?c"
    assert [row[name] for name in ("model", "client", "user", "request_content", "answer_content")] == [clean] * 5
    assert row["metadata"] == {clean: clean}


def test_a_row_that_the_database_refuses_takes_no_other_along(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    entries = [make_entry(), make_entry(dialect=None, request_id="the-bad-one"), make_entry()]
    with running(database) as ledger:
        for entry in entries:
            ledger.note(entry)
        wait_for(ledger, written=2, lost=1, waiting=0)

    assert ids(database) == sorted([entries[0].id, entries[2].id])
    told = [record.getMessage() for record in caplog.records if record.name.startswith("crossette")]
    assert told[0].startswith("The ledger has lost the row of request the-bad-one: ")


# --- the database is away ---


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
def test_postgres_may_go_and_come_back(postgres: Any, caplog: pytest.LogCaptureFixture) -> None:
    database = Database(postgres.emptied())
    database.migrate()
    with running(database) as ledger:
        ledger.note(make_entry(id="before"))
        wait_for(ledger, written=1)
        postgres.stop()
        for number in range(3):
            ledger.note(make_entry(id=f"meanwhile-{number}"))
        while not any("The ledger waits" in record.getMessage() for record in caplog.records):
            Event().wait(0.01)
        postgres.start()
        wait_for(ledger, written=4, waiting=0, lost=0)

    assert ids(database) == ["before", "meanwhile-0", "meanwhile-1", "meanwhile-2"]
    database.close()


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Turns of a tenth of a second."""
    for name, value in (("BATCH_S", 0.05), ("RETRY_S", 0.05), ("PATIENCE", 2)):
        monkeypatch.setattr(module, name, value)


@contextmanager
def admin(url: str) -> Iterator[psycopg.Connection]:
    """Of PostgreSQL, and never read-only."""
    options = "-c default_transaction_read_only=off"
    with psycopg.connect(url, autocommit=True, options=options) as connection:
        yield connection


@pytest.mark.all
def test_rows_wait_for_a_postgres_that_is_read_only(
    postgres: Any, hasty: None, caplog: pytest.LogCaptureFixture
) -> None:
    """As after a failover, and for longer than it takes to suspect a row."""
    database = Database(postgres.emptied())
    database.migrate()
    with running(database) as ledger, admin(postgres.url) as owner:
        ledger.note(make_entry(id="before"))
        wait_for(ledger, written=1)
        try:
            set_read_only(owner, "on")
            for number in range(3):
                ledger.note(make_entry(id=f"meanwhile-{number}"))
            wait_for_refusals(ledger)
            assert (ledger.stats().waiting, ledger.stats().lost) == (3, 0)
        finally:
            set_read_only(owner, "off")
        wait_for(ledger, written=4, waiting=0, lost=0)

    assert ids(database) == ["before", "meanwhile-0", "meanwhile-1", "meanwhile-2"]
    first, second = caplog.records  # and nothing of the driver's
    assert "read-only transaction" in first.getMessage()
    assert "is up to date" in second.getMessage()
    database.close()


def set_read_only(owner: psycopg.Connection, value: str) -> None:
    owner.execute(f"ALTER SYSTEM SET default_transaction_read_only = {value}")
    owner.execute("SELECT pg_reload_conf()")


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
    postgres: Any, hasty: None, caplog: pytest.LogCaptureFixture
) -> None:
    """It is lost once the database takes others beside it, and never to one that takes none."""
    database = Database(postgres.emptied())
    database.migrate()
    refuse(database, "poison")
    with running(database) as ledger:
        ledger.note(make_entry(id="poison", request_id="the-bad-one"))
        wait_for_refusals(ledger)
        assert (ledger.stats().waiting, ledger.stats().lost) == (1, 0)
        ledger.note(make_entry(id="one"))
        ledger.note(make_entry(id="two"))
        wait_for(ledger, written=2, waiting=0, lost=1)

    assert ids(database) == ["one", "two"]
    assert any("lost the row of request the-bad-one: not this" in record.getMessage() for record in caplog.records)
    database.close()


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


# --- adding up ---


def test_tokens_used_by_a_key_are_known_at_once_and_after_a_restart(database: Database) -> None:
    with running(database) as ledger:
        ledger.note(make_entry(10, 5, key_id="key-a"))
        ledger.note(make_entry(1, 2, cached=1, key_id="key-a"))
        ledger.note(make_entry(7, 0, key_id="key-b"))
        used = [ledger.used_tokens(key) for key in ("key-a", "key-b", "key-c")]
    with running(database) as again:
        assert used == [again.used_tokens(key) for key in ("key-a", "key-b", "key-c")] == [18, 7, 0]


def test_usage_names_keys_and_counts_errors(database: Database) -> None:
    key, _ = Keys(database).create("alice")
    entries = [
        make_entry(10, 5, cached=4, key_id=key.id),
        make_entry(1, 2, key_id=key.id, status=499),
        make_entry(1, 2, key_id=key.id, finish_reason="error"),
        make_entry(0, 0, key_id="", status=401, model=""),
    ]
    with running(database, prices={"fake": Price(1e6, 0, 2e6)}) as ledger:
        for entry in entries:
            ledger.note(entry)
        wait_for(ledger, written=len(entries))

        assert ledger.usage(UsageQuery(("key", "model"))) == [
            UsageRow("", None, "", None, 1, 1, 0, 0, 0, 0, None),
            UsageRow(key.id, "alice", "fake", None, 3, 2, 12, 4, 9, 0, 26.0),
        ]


def test_a_day_begins_in_utc_and_since_includes_its_moment(database: Database) -> None:
    midnight = datetime(2026, 11, 23, tzinfo=UTC)
    moments = [midnight - timedelta(seconds=1), midnight, midnight + timedelta(hours=23)]
    with running(database) as ledger:
        for moment in moments:
            ledger.note(make_entry(time=moment))
        wait_for(ledger, written=3)

        by_day = [(row.day, row.requests) for row in ledger.usage(UsageQuery(("day",)))]
        since = [(row.day, row.requests) for row in ledger.usage(UsageQuery(("day",), since=midnight))]
    assert (by_day, since) == ([("2026-11-22", 1), ("2026-11-23", 2)], [("2026-11-23", 2)])


ENTRIES = st.lists(
    st.builds(
        lambda key, model, hours, prompt, completion: make_entry(
            prompt, completion, key_id=key, model=model, time=NOW + timedelta(hours=hours)
        ),
        st.sampled_from(["", "key-a", "key-b"]),
        st.sampled_from(["fake", "other"]),
        st.integers(-48, 48),
        st.integers(0, 10**6),
        st.integers(0, 10**6),
    ),
    max_size=12,
)
SINCE = st.none() | st.integers(-50, 50).map(lambda hours: NOW + timedelta(hours=hours))


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(ENTRIES, st.sets(st.sampled_from(GROUPS), min_size=1), SINCE, st.integers(0, 12))
def test_sums_are_those_of_the_entries(
    database: Database, entries: list[Entry], groups: set[Any], since: datetime | None, cut: int
) -> None:
    query = UsageQuery(tuple(group for group in GROUPS if group in groups), since)
    expected = _added_up([entry for entry in entries if since is None or entry.time >= since], groups)
    with database.write() as connection:
        for table in (requests, days):
            connection.execute(table.delete())
        insert_rows(connection, [row_of(entry, {}) for entry in entries[:cut]])
        insert_rows(connection, [row_of(entry, {}) for entry in entries])  # as after a commit that was not confirmed

        assert _sums(usage_rows(connection, query)) == expected

        delete_rows(connection, NOW + timedelta(days=3), 12)
        if since is None:
            assert _sums(usage_rows(connection, query)) == expected
        assert sum(used_tokens(connection).values()) == sum(entry.usage.total_tokens for entry in entries)


def _sums(rows: Sequence[UsageRow]) -> dict[tuple[str | None, ...], list[int]]:
    return {(row.key, row.model, row.day): [row.requests, row.prompt_tokens, row.completion_tokens] for row in rows}


def _added_up(entries: Sequence[Entry], groups: set[Any]) -> dict[tuple[str | None, ...], list[int]]:
    found: dict[tuple[str | None, ...], list[int]] = defaultdict(lambda: [0, 0, 0])
    for entry in entries:
        named = {"key": entry.key_id, "model": entry.model, "day": f"{entry.time:%Y-%m-%d}"}
        sums = found[tuple(named[group] if group in groups else None for group in GROUPS)]
        for place, number in enumerate((1, entry.usage.prompt_tokens, entry.usage.completion_tokens)):
            sums[place] += number
    return found


def test_rows_older_than_they_are_kept_are_deleted_and_what_they_add_up_to_stays(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "DELETED_ROWS", 2)
    now = datetime.now(UTC)
    old = [make_entry(id=f"old-{number}", time=now - timedelta(days=31, minutes=number)) for number in range(5)]
    query = UsageQuery(("key",))
    with running(database) as before:
        for entry in [*old, make_entry(id="new", time=now - timedelta(days=29))]:
            before.note(entry)
        wait_for(before, written=6)
        usage = before.usage(query)

    pause = Event()
    with running(database, keep=timedelta(days=30)) as ledger:
        for _ in range(LIMIT_S * 10):
            if ids(database) == ["new"]:
                break
            pause.wait(0.1)
        assert (ids(database), ledger.usage(query), ledger.used_tokens("key-a")) == (["new"], usage, 90)


@pytest.mark.all
def test_days_are_written_alike_however_postgres_writes_dates(postgres: Any) -> None:
    with admin(postgres.emptied()) as owner:
        owner.execute("ALTER ROLE crossette SET datestyle = 'SQL, DMY'")
    database = Database(postgres.url)
    try:
        database.migrate()
        with database.write() as connection:
            assert connection.exec_driver_sql("SELECT date '2026-11-23' :: text").scalar_one() == "23/11/2026"
        test_rows_of_an_earlier_version_are_added_up(database)
        with database.read() as connection:
            assert {row.day for row in usage_rows(connection, UsageQuery(("day",)))} == {"2026-11-23", "2026-11-24"}
            since = UsageQuery(("day",), since=NOW - timedelta(hours=1))
            assert {row.day for row in usage_rows(connection, since)} == {"2026-11-23", "2026-11-24"}
    finally:
        database.close()
        with admin(postgres.url) as owner:
            owner.execute("ALTER ROLE crossette RESET datestyle")


def test_rows_of_an_earlier_version_are_added_up(database: Database) -> None:
    entries = [make_entry(10, 5, cached=4), make_entry(1, 2, status=499), make_entry(model="other", status=401)]
    with database.write() as connection:
        connection.execute(requests.insert(), [row_of(entry, {"fake": Price(1e6, 0, 2e6)}) for entry in entries])
        connection.execute(days.delete())
        insert_rows(connection, [row_of(make_entry(time=NOW + timedelta(days=1)), {})])
        expected = usage_rows(connection, UsageQuery(GROUPS, since=NOW))
        days.drop(connection)
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '1'")

    database.migrate()

    with database.read() as connection:
        assert usage_rows(connection, UsageQuery(GROUPS)) == expected
        assert [row.requests for row in expected] == [2, 1, 1]


# --- as people write it ---


def test_a_query_is_read() -> None:
    assert parse_query(None, None, NOW) == UsageQuery(("key", "model"))
    assert parse_query("day,key", "7d", NOW) == UsageQuery(("key", "day"), NOW - timedelta(days=7))


@pytest.mark.parametrize(
    ("group_by", "since", "param"),
    [("", None, "group_by"), ("key,", None, "group_by"), ("user", None, "group_by"), (None, "yesterday", "since")],
)
def test_what_is_no_query_is_refused_by_name(group_by: str | None, since: str | None, param: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        parse_query(group_by, since, NOW)

    assert raised.value.param == param
