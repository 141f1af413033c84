"""What rows add up to by day, and what usage and budgets make of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from threading import Event
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crossette.errors import InvalidRequest
from crossette.ledger import GROUPS, Entry, UsageQuery, UsageRow, parse_query
from crossette.store import ledger as module
from crossette.store.database import Database
from crossette.store.days import usage_rows, used_tokens
from crossette.store.keys import Keys
from crossette.store.prices import Price
from crossette.store.rows import delete_rows, insert_rows, row_of
from crossette.store.tables import days, requests
from ledger_entries import NOW, make_entry
from ledgers import LIMIT_S, ids, running, wait_for
from postgres import admin


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


@pytest.mark.parametrize(("since", "num_rows"), [("0300-01-01T01:00Z", 1), ("9999-12-31T23:59Z", 0)])
def test_any_moment_may_be_the_first(database: Database, since: str, num_rows: int) -> None:
    with database.write() as connection:
        insert_rows(connection, [row_of(make_entry(), {})])
        query = parse_query("model", since, NOW)

        assert len(usage_rows(connection, query)) == num_rows


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
