"""Stored responses: of one key only, for a limited time, in memory or in the database."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from crossette.accounts import responses as memory
from crossette.accounts.database.database import Database
from crossette.accounts.database.responses import DatabaseResponses
from crossette.accounts.responses import MemoryResponses, ResponsesByCaller, ResponseStore, StoredResponse

START = datetime(2026, 11, 1, tzinfo=UTC)
KEEP = timedelta(hours=1)


class Clock:
    now = START


def stored(name: str, key: str = "k", at: int = 0, size: int = 2) -> StoredResponse:
    return StoredResponse(name, key, None, START + timedelta(seconds=at), b"[]", b'"' + b"x" * (size - 2) + b'"')


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory", "database", "both"])
def store(request: pytest.FixtureRequest, clock: Clock, database: Database) -> ResponseStore:
    now: Callable[[], datetime] = lambda: clock.now  # noqa: E731
    in_memory, in_database = MemoryResponses(KEEP, now), DatabaseResponses(database, KEEP, now)
    stores: dict[str, ResponseStore] = {
        "memory": in_memory,
        "database": in_database,
        "both": ResponsesByCaller(in_database, in_memory),
    }
    return stores[request.param]


def test_a_response_is_found_by_its_key_only(store: ResponseStore) -> None:
    for key in ("k", ""):
        response = StoredResponse(f"resp_{key}", key, "resp_0", START, b'[{"a":"\\u0000\xc3\xa9"}]', b"{}")
        store.save(response)
        assert store.find(key, response.id) == response
        assert store.find("other", response.id) is None
        assert not store.delete("other", response.id)
        assert store.delete(key, response.id)
        assert store.find(key, response.id) is None
        assert not store.delete(key, response.id)


def test_a_response_can_be_replaced(store: ResponseStore) -> None:
    store.save(stored("a"))
    store.save(stored("a", size=9))

    assert store.find("k", "a") == stored("a", size=9)
    assert [row.id for row in store.latest("k", 5)] == ["a"]


def test_a_response_expires(store: ResponseStore, clock: Clock) -> None:
    store.save(stored("a"))
    store.save(stored("b", at=60))
    clock.now = START + KEEP

    assert store.find("k", "a") is None
    assert [row.id for row in store.latest("k", 5)] == ["b"]


def test_the_latest_are_listed_page_by_page(store: ResponseStore) -> None:
    for index in range(5):
        store.save(stored(str(index), at=index))
    store.save(stored("other", key="j", at=9))

    page = store.latest("k", 2)
    assert [row.id for row in page] == ["4", "3"]
    assert [row.id for row in store.latest("k", 9, before=page[-1].created_at)] == ["2", "1", "0"]


def test_expired_rows_are_deleted_also_by_a_server_that_stores_none(database: Database, clock: Clock) -> None:
    by_an_hour = DatabaseResponses(database, KEEP, lambda: clock.now)
    for index in range(3):
        by_an_hour.save(stored(str(index), at=index))
    clock.now = START + KEEP + timedelta(seconds=1)

    assert DatabaseResponses(database, timedelta(), lambda: clock.now).purge() == 2
    assert [row.id for row in by_an_hour.latest("k", 9)] == ["2"]


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "MAX_ROWS", 3)
    monkeypatch.setattr(memory, "MAX_BYTES", 100)
    store = MemoryResponses(KEEP, lambda: START)
    for index in range(5):
        store.save(stored(str(index), at=index))
    assert [row.id for row in store.latest("k", 9)] == ["4", "3", "2"]

    store.save(stored("large", at=9, size=95))
    assert [row.id for row in store.latest("k", 9)] == ["large"]
    store.save(stored("too large", at=10, size=200))
    assert store.latest("k", 9) == []
    store.save(stored("small", at=11))
    assert [row.id for row in store.latest("k", 9)] == ["small"]


def test_only_an_unfinished_response_is_kept_alive(store: ResponseStore) -> None:
    later = START + KEEP
    store.save(replace(stored("running"), alive_until=START))
    store.save(stored("ended"))
    for name in ("running", "ended", "none"):
        store.keep_alive(name, later)

    assert [row.alive_until for row in (store.find("k", "running"), store.find("k", "ended")) if row] == [later, None]


def test_only_an_unfinished_response_is_updated(store: ResponseStore) -> None:
    store.save(replace(stored("running"), alive_until=START))
    store.save(stored("cancelled"))

    updates = [replace(stored(name), response=b'"new"') for name in ("running", "cancelled", "deleted")]
    assert [store.update(one) for one in updates] == [True, False, False]
    assert [row and row.response == b'"new"' for row in (store.find("k", one.id) for one in updates)] == [
        True, False, None
    ]  # fmt: skip
    assert not store.update(updates[0]), "it has ended"
