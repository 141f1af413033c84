"""Who may come in: decided in memory, kept fresh by a look at the database."""

from __future__ import annotations

import hmac
from datetime import timedelta
from itertools import count
from pathlib import Path
from threading import Event
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from crossette.accounts.access import ANONYMOUS, Caller, Limits
from crossette.accounts.database import key_ring
from crossette.accounts.database.database import Database
from crossette.accounts.database.key_ring import KeyRing
from crossette.accounts.database.keys import Key, Keys, KeysVersion, hash_of, id_of
from crossette.accounts.database.tables import keys as table
from crossette.errors import StoreError, Unauthorized
from support.key_clock import NOW, Clock

LIMIT_S = 60
INVALID = "The API key you provided is invalid."


def refusal(ring: KeyRing, key: str | None) -> str:
    ring.refresh()
    with pytest.raises(Unauthorized) as raised:
        ring.caller(key)
    return raised.value.message


def caller(ring: KeyRing, key: str | None) -> Caller:
    ring.refresh()
    return ring.caller(key)


@pytest.mark.parametrize("sent", [None, "", "EMPTY", "sk-no-key"])
def test_without_keys_everybody_is_welcome_whatever_is_sent(ring: KeyRing, sent: str | None) -> None:
    assert caller(ring, sent) == ANONYMOUS


def test_a_key_opens_for_its_own_caller(keys: Keys, ring: KeyRing) -> None:
    limits = Limits(requests_per_minute=3)
    key, text = keys.create("alice", models=frozenset({"a"}), limits=limits)
    boss, other = keys.create("boss", is_admin=True)

    assert caller(ring, text) == Caller(key.id, "alice", False, frozenset({"a"}), limits)
    assert caller(ring, other) == Caller(boss.id, "boss", True)


def test_once_a_key_was_made_there_is_no_way_in_without_one(keys: Keys, ring: KeyRing) -> None:
    _, text = keys.create("alice")

    assert refusal(ring, "x") == refusal(ring, text + "x") == refusal(ring, text[:-1]) == INVALID
    assert refusal(ring, None).startswith("No API key was given. Send one as 'Authorization: Bearer KEY'")


def test_revoking_all_keys_does_not_open_the_server(keys: Keys, ring: KeyRing) -> None:
    _, text = keys.create("alice")
    keys.revoke("alice")

    assert refusal(ring, text) == INVALID
    assert refusal(ring, None).startswith("No API key was given.")


def test_keys_that_vanish_do_not_open_a_running_server(database: Database, keys: Keys, ring: KeyRing) -> None:
    _, text = keys.create("alice")
    assert caller(ring, text).name == "alice"
    with database.write() as connection:
        connection.execute(table.delete())

    assert refusal(ring, text) == INVALID
    assert refusal(ring, None).startswith("No API key was given.")


def test_an_expired_key_is_told_so(keys: Keys, ring: KeyRing, clock: Clock) -> None:
    _, text = keys.create("alice", expires_at=NOW + timedelta(hours=1))
    assert caller(ring, text).name == "alice"

    clock.now += timedelta(hours=1)

    assert refusal(ring, text) == "The API key you provided is invalid: it expired on 2026-11-23."
    assert refusal(ring, text + "x") == INVALID


def test_the_old_text_of_a_rotated_key_opens_for_the_overlap(keys: Keys, ring: KeyRing, clock: Clock) -> None:
    key, old = keys.create("alice")
    _, new = keys.rotate("alice", timedelta(hours=1))
    assert caller(ring, old) == caller(ring, new) == key.caller

    clock.now += timedelta(hours=1)

    assert caller(ring, new) == key.caller
    assert refusal(ring, old) == INVALID


def test_without_an_overlap_the_old_text_ends_at_once(keys: Keys, ring: KeyRing) -> None:
    _, old = keys.create("alice")
    keys.rotate("alice")

    assert refusal(ring, old) == INVALID


def test_guests_are_let_in_where_that_was_asked_for_but_are_no_admins(keys: Keys) -> None:
    ring = KeyRing(keys, allow_anonymous=True)
    before_any_key = ring.caller(None)
    keys.create("alice")

    assert before_any_key == Caller("", "anonymous", is_admin=False)
    assert caller(ring, None) == Caller("", "anonymous", is_admin=False)
    assert refusal(ring, "x") == INVALID


def test_a_database_that_is_away_leaves_the_keys_that_are_known(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("away")
    database = Database(f"sqlite:///{folder}/crossette.db")
    database.migrate()
    keys = Keys(database)
    ring = KeyRing(keys)
    _, text = keys.create("alice")
    ring.refresh()
    (folder / "crossette.db").rename(folder / "elsewhere.db")

    with pytest.raises(StoreError):
        ring.refresh()
    assert ring.caller(text).name == "alice"


def test_a_database_in_place_of_another_is_noticed_though_as_much_was_changed_in_it(
    tmp_path: Path, ring: KeyRing, keys: Keys, database: Database
) -> None:
    """Another file under the same name, or other rows in the same tables: whatever was put back."""
    other = Database(f"sqlite:///{tmp_path}/other.db")
    other.migrate()
    _, ours = keys.create("alice")
    _, theirs = Keys(other).create("alice")
    assert caller(ring, ours).name == "alice"

    with other.read() as connection:
        rows = [dict(row) for row in connection.execute(select(table)).mappings()]
    other.close()
    if database.file:
        (tmp_path / "other.db").rename(database.file)
        database.file.with_name(database.file.name + "-wal").unlink()  # what was written to the one that is gone
    else:
        with database.write() as connection:
            connection.execute(table.delete())
            connection.execute(table.insert(), rows)

    assert refusal(ring, ours) == INVALID
    assert caller(ring, theirs).name == "alice"


def test_a_backup_that_was_put_back_is_noticed_though_as_much_was_changed_since(
    database: Database, keys: Keys, ring: KeyRing
) -> None:
    """Of two keys one is revoked; then a backup is put back, and the other one is."""
    (first, lost), (second, found) = keys.create("first"), keys.create("second")
    with database.read() as connection:
        backup = [dict(row) for row in connection.execute(select(table)).mappings()]
    keys.revoke(first.id)
    assert refusal(ring, lost) == INVALID

    with database.write() as connection:
        connection.execute(table.delete())
        connection.execute(table.insert(), backup)
    keys.revoke(second.id)

    assert refusal(ring, found) == INVALID
    assert caller(ring, lost).name == "first"


def test_keys_are_read_only_if_they_have_changed(keys: Keys, ring: KeyRing, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("alice", "bob"):
        keys.create(name)
    looks = count(1)
    monkeypatch.setattr(keys, "list", lambda: next(looks) and [])

    for _ in range(5):
        ring.refresh()
    keys.revoke("alice")
    ring.refresh()

    assert next(looks) == 3


UNREADABLE = [
    {"limits": '{"requests_per_fortnight": 3}'},
    {"limits": '{"requests_per_minute": "many"}'},
    {"limits": "[1]"},
    {"models": "3"},
]


@pytest.mark.parametrize("values", UNREADABLE, ids=str)
def test_a_key_with_what_this_version_does_not_know_does_not_open_and_hides_no_other(
    database: Database, keys: Keys, ring: KeyRing, values: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    _, before = keys.create("before")
    odd, text = keys.create("odd", limits=Limits(requests_per_minute=1))
    _, after = keys.create("after")
    assert caller(ring, text).name == "odd"

    spoil(database, odd, values)

    assert refusal(ring, text) == INVALID
    assert (caller(ring, before).name, caller(ring, after).name) == ("before", "after")
    (told,) = {record.getMessage() for record in caplog.records}
    assert told.startswith(f"A key cannot be read by this version of crossette, so it does not open: {odd.id}: ")


def test_text_that_is_no_json_hides_no_other_key(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    database = Database(f"sqlite:///{tmp_path}/crossette.db")
    database.migrate()
    keys = Keys(database)
    odd, text = keys.create("odd")
    _, after = keys.create("after")
    spoil(database, odd, {"limits": "{", "created_at": "2000-01-01 00:00:00.000000"})
    ring = KeyRing(keys)

    assert refusal(ring, text) == INVALID
    assert caller(ring, after).name == "after"
    database.close()
    assert [record.getMessage()[:40] for record in caplog.records] == ["A key cannot be read by this version of "]


def test_a_server_whose_keys_cannot_be_read_is_closed(database: Database, keys: Keys, ring: KeyRing) -> None:
    odd, text = keys.create("odd")
    spoil(database, odd, {"limits": "[1]"})

    assert refusal(ring, text) == INVALID
    assert refusal(ring, None).startswith("No API key was given.")


def spoil(database: Database, key: Key, values: dict[str, str]) -> None:
    changes = ", ".join(f"{name} = '{value}'" for name, value in values.items())
    with database.write() as connection:
        connection.exec_driver_sql(f"UPDATE keys SET {changes}, version = version + 1 WHERE id = '{key.id}'")


@pytest.mark.parametrize("fault", [StoreError("away"), PermissionError("not yours"), TypeError("what is this")])
def test_no_fault_ends_the_look_at_the_keys_and_each_is_told_once(
    keys: Keys, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fault: Exception
) -> None:
    monkeypatch.setattr(key_ring, "REFRESH_S", 0.01)
    _, text = keys.create("alice")
    ring = KeyRing(keys)
    ring.refresh()
    keys.revoke("alice")
    looks, version = count(), keys.version

    def failing() -> KeysVersion:
        if next(looks) < 3:
            raise fault
        return version()

    monkeypatch.setattr(keys, "version", failing)
    ring.start()
    for _ in range(LIMIT_S * 100):
        if not opens(ring, text):
            break
        Event().wait(0.01)
    ring.close()

    assert (opens(ring, text), ring._thread.is_alive()) == (False, False)
    (told,) = caplog.records
    assert told.getMessage() == f"The keys cannot be read, so those known stay as they are: {fault}"
    assert bool(told.exc_info) == (not isinstance(fault, StoreError))  # only a mistake of ours needs a traceback


def opens(ring: KeyRing, text: str) -> bool:
    try:
        ring.caller(text)
    except Unauthorized:
        return False
    return True


def test_the_end_does_not_wait_for_a_database_that_hangs(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_ring, "REFRESH_S", 0.01)
    monkeypatch.setattr(key_ring, "LAST_LOOK_S", 0.01)
    is_asked, answers = Event(), Event()
    version = keys.version()

    def hanging() -> KeysVersion:
        is_asked.set()
        answers.wait(LIMIT_S)
        return version

    ring = KeyRing(keys)
    ring.refresh()
    monkeypatch.setattr(keys, "version", hanging)
    ring.start()
    assert is_asked.wait(LIMIT_S)

    ring.close()  # would not come back

    assert not answers.is_set()
    answers.set()


def test_keys_are_compared_in_constant_time_and_as_often_whether_they_are_known(
    keys: Keys, ring: KeyRing, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, right = keys.create("alice")
    ring.refresh()
    compared: list[tuple[int, int]] = []

    def noting(one: str, other: str) -> bool:
        compared.append((len(one), len(other)))
        return hmac.compare_digest(one, other)

    monkeypatch.setattr("crossette.accounts.database.keys.hmac", SimpleNamespace(compare_digest=noting))
    seen = []
    for text in (right, right + "x", "sk-crossette-unknown1-" + "x" * 43, "x"):
        compared.clear()
        opens(ring, text)
        seen.append(list(compared))

    assert seen == [[(64, 64), (64, 0)]] * 4


@given(st.text() | st.from_regex(r"\Ask-crossette-[a-z0-9]{8}-[A-Za-z0-9]{43}\Z"))
def test_no_other_text_opens(text: str) -> None:
    key = Key(id_of(text), "alice", hash_of("sk-crossette-abcdefgh-" + "x" * 43), NOW)

    assert not key.matches(text, NOW)
