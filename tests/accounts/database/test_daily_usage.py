"""Daily totals, usage queries and used budgets."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from threading import Event
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, func, select

from crossette.accounts.database import ledger_writer as module
from crossette.accounts.database.daily_usage import usage_rows, used_tokens
from crossette.accounts.database.database import Database
from crossette.accounts.database.keys import Keys
from crossette.accounts.database.rows import delete_rows, insert_rows, row_of
from crossette.accounts.database.tables import (
    accounts,
    batches,
    days,
    file_parts,
    files,
    key_changes,
    leases,
    replicas,
    requests,
    responses,
)
from crossette.accounts.ledger import GROUPS, Entry, UsageQuery, UsageRow, parse_query
from crossette.accounts.prices import Price
from crossette.errors import InvalidRequest
from support.ledger_entries import NOW, make_entry
from support.ledgers import LIMIT_S, ids, kept, running, wait_for
from support.postgres import admin

pytestmark = pytest.mark.slow


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
def test_since_may_be_any_time(database: Database, since: str, num_rows: int) -> None:
    with database.write() as connection:
        insert_rows(connection, [row_of(make_entry(), {})])
        query = parse_query("model", since, NOW)

        assert len(usage_rows(connection, query)) == num_rows


ENTRIES = st.lists(
    st.builds(
        lambda key, model, is_served, hours, prompt, completion: make_entry(
            prompt, completion, key_id=key, model=model, is_served=is_served, time=NOW + timedelta(hours=hours)
        ),
        st.sampled_from(["", "key-a", "key-b"]),
        st.sampled_from(["fake", "other"]),
        st.booleans(),
        st.integers(-48, 48),
        st.integers(0, 10**6),
        st.integers(0, 10**6),
    ),
    max_size=12,
)
SINCE = st.none() | st.integers(-50, 50).map(lambda hours: NOW + timedelta(hours=hours))


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(ENTRIES, st.sets(st.sampled_from(GROUPS), min_size=1), SINCE, st.integers(0, 12))
def test_totals_match_the_entries(
    database: Database, entries: list[Entry], groups: set[Any], since: datetime | None, cut: int
) -> None:
    query = UsageQuery(tuple(group for group in GROUPS if group in groups), since)
    expected = _added_up([entry for entry in entries if since is None or entry.time >= since], groups)
    with database.write() as connection:
        for table in (requests, days):
            connection.execute(table.delete())
        insert_rows(connection, [row_of(entry, {}) for entry in entries[:cut]])
        insert_rows(connection, [row_of(entry, {}) for entry in entries])  # as after an unconfirmed commit

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
        model = entry.model if entry.is_served else ""
        named = {"key": entry.key_id, "model": model, "day": f"{entry.time:%Y-%m-%d}"}
        sums = found[tuple(named[group] if group in groups else None for group in GROUPS)]
        for index, number in enumerate((1, entry.usage.prompt_tokens, entry.usage.completion_tokens)):
            sums[index] += number
    return found


def test_rows_older_than_keep_are_deleted_and_totals_stay(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DELETE_BATCH_ROWS", 2)
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
def test_days_have_one_format_whatever_the_datestyle_of_postgres(postgres: Any) -> None:
    with admin(postgres.emptied()) as owner:
        owner.execute("ALTER ROLE crossette SET datestyle = 'SQL, DMY'")
    database = Database(postgres.url)
    try:
        database.migrate()
        with database.write() as connection:
            assert connection.exec_driver_sql("SELECT date '2026-11-23' :: text").scalar_one() == "23/11/2026"
        test_rows_of_an_earlier_version_are_aggregated(database)
        with database.read() as connection:
            assert {row.day for row in usage_rows(connection, UsageQuery(("day",)))} == {"2026-11-23", "2026-11-24"}
            since = UsageQuery(("day",), since=NOW - timedelta(hours=1))
            assert {row.day for row in usage_rows(connection, since)} == {"2026-11-23", "2026-11-24"}
    finally:
        database.close()
        with admin(postgres.url) as owner:
            owner.execute("ALTER ROLE crossette RESET datestyle")


def go_back(connection: Connection, version: str) -> None:
    """Remove what versions after 2 have, and set the version."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("DROP TRIGGER keys_changed ON keys")
        for name in ("account", "fills", "decide", "end", "beat", "key_changed"):
            connection.exec_driver_sql(f"DROP FUNCTION crossette_{name} CASCADE")
    else:
        for event in ("insert", "update", "delete"):
            connection.exec_driver_sql(f"DROP TRIGGER keys_{event}")
    connection.exec_driver_sql("DROP INDEX keys_name")
    for table in (responses, file_parts, files, batches, key_changes, leases, accounts, replicas):
        table.drop(connection)
    for column in ("is_served", "batch_id"):
        connection.exec_driver_sql(f"ALTER TABLE requests DROP COLUMN {column}")
    connection.exec_driver_sql(f"UPDATE alembic_version SET version_num = '{version}'")


def test_rows_of_an_earlier_version_are_aggregated(database: Database) -> None:
    entries = [make_entry(10, 5, cached=4), make_entry(1, 2, status=499), make_entry(model="other", status=401)]
    with database.write() as connection:
        connection.execute(requests.insert(), [row_of(entry, {"fake": Price(1e6, 0, 2e6)}) for entry in entries])
        connection.execute(days.delete())
        insert_rows(connection, [row_of(make_entry(time=NOW + timedelta(days=1)), {})])
        expected = usage_rows(connection, UsageQuery(GROUPS, since=NOW))
        days.drop(connection)
        go_back(connection, "1")

    database.migrate()

    with database.read() as connection:
        assert usage_rows(connection, UsageQuery(GROUPS)) == expected
        assert [row.requests for row in expected] == [2, 1, 1]


# --- unknown model names ---


def unknown_model(number: int, **fields: Any) -> Entry:
    return make_entry(0, 0, model=f"made-up-{number}", status=404, is_served=False, **fields)


def test_unknown_model_names_add_no_totals(database: Database) -> None:
    """Each request would add a total that is never deleted. Its row has the requested name."""
    with running(database) as ledger:
        for number in range(30):
            ledger.note(unknown_model(number))
        ledger.note(make_entry())
        wait_for(ledger, written=31)
        by_model = ledger.usage(UsageQuery(("model",)))
        since = ledger.usage(UsageQuery(("model",), since=NOW - timedelta(hours=1)))

    assert [(row.model, row.requests, row.errors) for row in by_model] == [("", 30, 30), ("fake", 1, 0)]
    assert since == by_model
    with database.read() as connection:
        assert connection.scalar(select(func.count()).select_from(days)) == 2
    assert {row["model"] for row in kept(database) if not row["is_served"]} == {f"made-up-{n}" for n in range(30)}


def test_names_of_an_earlier_version_without_tokens_are_merged(database: Database) -> None:
    tomorrow = NOW + timedelta(days=1)
    entries = [
        make_entry(10, 5),
        make_entry(0, 0, status=400),
        make_entry(0, 0, model="", status=401),
        *(make_entry(0, 0, model=f"made-up-{n}", status=404, time=day) for n in range(5) for day in (NOW, tomorrow)),
        make_entry(0, 0, model="made-up-0", status=404, key_id="key-b"),
    ]
    with database.write() as connection:
        insert_rows(connection, [row_of(entry, {}) for entry in entries])
        assert connection.scalar(select(func.count()).select_from(days)) == 13
        before = usage_rows(connection, UsageQuery(("key", "day")))
        go_back(connection, "2")

    database.migrate()

    with database.read() as connection:
        rows = usage_rows(connection, UsageQuery(GROUPS))
        assert [(row.key, row.model, row.day, row.requests, row.errors, row.prompt_tokens) for row in rows] == [
            ("key-a", "", "2026-11-23", 6, 6, 0),
            ("key-a", "", "2026-11-24", 5, 5, 0),
            ("key-a", "fake", "2026-11-23", 2, 1, 10),
            ("key-b", "", "2026-11-23", 1, 1, 0),
        ]
        assert usage_rows(connection, UsageQuery(("key", "day"))) == before
        assert usage_rows(connection, UsageQuery(GROUPS, since=NOW)) == rows
        assert len(connection.execute(select(days)).all()) == 4
    assert {row["model"]: row["is_served"] for row in kept(database)} == {
        **{f"made-up-{n}": False for n in range(5)},
        "": False,
        "fake": True,
    }


# --- parsing ---


def test_a_query_is_parsed() -> None:
    assert parse_query(None, None, NOW) == UsageQuery(("key", "model"))
    assert parse_query("day,key", "7d", NOW) == UsageQuery(("key", "day"), NOW - timedelta(days=7))


@pytest.mark.parametrize(
    ("group_by", "since", "param"),
    [("", None, "group_by"), ("key,", None, "group_by"), ("user", None, "group_by"), (None, "yesterday", "since")],
)
def test_an_invalid_query_is_rejected_by_name(group_by: str | None, since: str | None, param: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        parse_query(group_by, since, NOW)

    assert raised.value.param == param
