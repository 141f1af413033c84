"""Keys: shown once, kept as hashes, and what each of them opens."""

from __future__ import annotations

import dataclasses
import hmac
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from threading import Barrier, BrokenBarrierError, Event
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, select

from crossette.access import ANONYMOUS, Caller, Limits
from crossette.errors import ConfigError, StoreError, Unauthorized
from crossette.store import key_ring
from crossette.store import keys as keys_module
from crossette.store.database import Database
from crossette.store.key_ring import KeyRing
from crossette.store.keys import Key, Keys, hash_of, id_of
from crossette.store.tables import keys as table

LIMIT_S = 60
NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
INVALID = "The API key you provided is invalid."


class Clock:
    """A time that a test sets."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def keys(database: Database, clock: Clock) -> Keys:
    return Keys(database, clock)


@pytest.fixture
def ring(keys: Keys, clock: Clock) -> KeyRing:
    return KeyRing(keys, clock=clock)


def refusal(ring: KeyRing, key: str | None) -> str:
    ring.refresh()
    with pytest.raises(Unauthorized) as raised:
        ring.caller(key)
    return raised.value.message


def caller(ring: KeyRing, key: str | None) -> Caller:
    ring.refresh()
    return ring.caller(key)


# --- what is kept ---


def test_a_key_is_kept_whole_but_for_its_text(keys: Keys) -> None:
    limits = Limits(**{field.name: place + 1 for place, field in enumerate(dataclasses.fields(Limits))})
    made: dict[str, Any] = {
        "expires_at": NOW + timedelta(days=1),
        "models": frozenset({"a", "b"}),
        "limits": limits,
        "is_admin": True,
    }

    key, text = keys.create("alice", **made)

    assert keys.list() == [key]
    assert key == Key(key.id, "alice", hash_of(text), NOW, **made)


def test_the_database_never_has_the_text_of_a_key(database: Database, keys: Keys) -> None:
    _, old = keys.create("alice")
    _, new = keys.rotate("alice")

    with database.read() as connection:
        dump = repr(connection.execute(select(table)).all())
    secrets = [text.rpartition("-")[2] for text in (old, new)]
    assert [len(secret) for secret in secrets] == [43, 43]
    assert [secret for secret in secrets if secret in dump] == []


def test_a_name_is_free_again_when_its_key_is_revoked(keys: Keys) -> None:
    first, _ = keys.create("alice")
    with pytest.raises(ConfigError, match="There is a key named 'alice'"):
        keys.create("alice")
    keys.revoke("alice")

    second, _ = keys.create("alice")

    assert [(key.id, key.state(NOW)) for key in keys.list()] == sorted(
        [(first.id, "revoked"), (second.id, "active")], key=lambda each: each[0]
    )


@pytest.mark.parametrize("name", ["", "x" * 101, "a\nb", "a\0"])
def test_a_name_that_nobody_can_read_is_refused(keys: Keys, name: str) -> None:
    with pytest.raises(ConfigError, match="A key's name is 1 to 100 printable characters"):
        keys.create(name)


def test_a_key_that_has_expired_already_is_refused(keys: Keys) -> None:
    with pytest.raises(ConfigError, match="The key would have expired already"):
        keys.create("alice", expires_at=NOW)


@pytest.mark.parametrize("change", [Keys.revoke, Keys.rotate])
def test_what_is_not_there_cannot_be_changed(keys: Keys, change: Callable[[Keys, str], object]) -> None:
    keys.create("alice")
    with pytest.raises(ConfigError, match=r"There is no key 'bob' that is not revoked\. Keys: alice\."):
        change(keys, "bob")


@pytest.mark.parametrize("use", [Keys.create, Keys.revoke, Keys.rotate])
def test_the_text_of_a_key_is_no_name_and_not_repeated(keys: Keys, use: Callable[[Keys, str], object]) -> None:
    _, text = keys.create("alice")

    with pytest.raises(ConfigError, match=r"is a key's text\. Give its name or its id") as raised:
        use(keys, f" {text}")

    assert text.rpartition("-")[2] not in str(raised.value)
    assert [key.name for key in keys.list()] == ["alice"]


def test_an_expired_key_is_not_rotated(keys: Keys, clock: Clock) -> None:
    key, _ = keys.create("alice", expires_at=NOW + timedelta(hours=1))
    clock.now += timedelta(hours=1)

    with pytest.raises(ConfigError, match=r"expired on 2026-11-23: .*Revoke it, and create one with its name"):
        keys.rotate("alice")

    assert keys.list() == [key]
    keys.revoke("alice")
    assert keys.create("alice")[0].state(clock.now) == "active"


def test_a_revoke_during_a_rotate_stays(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each reads the key before it writes it."""
    keys.create("alice")
    meet_while_reading(monkeypatch)

    both(lambda: keys.rotate("alice"), lambda: keys.revoke("alice"))

    assert [key.state(NOW) for key in keys.list()] == ["revoked"]


def test_of_two_that_make_a_name_at_once_one_is_told_that_it_is_there(
    keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    meet_while_reading(monkeypatch)

    failed = both(lambda: keys.create("alice"), lambda: keys.create("alice"))

    assert [str(error)[:27] for error in failed] == ["There is a key named 'alice"]
    assert [key.name for key in keys.list()] == ["alice"]


def meet_while_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two that could both have read before either has written do so; those that take turns are not held up for long."""
    read, meeting = keys_module._read, Barrier(2)

    def reading(connection: Connection) -> list[Key]:
        found = read(connection)
        with suppress(BrokenBarrierError):
            meeting.wait(0.5)
        return found

    monkeypatch.setattr(keys_module, "_read", reading)


def both(*uses: Callable[[], object]) -> list[ConfigError]:
    """Run them at the same time: what was refused."""
    with ThreadPoolExecutor() as pool:
        ended = [running.exception(LIMIT_S) for running in [pool.submit(use) for use in uses]]
    return [error for error in ended if isinstance(error, ConfigError)]


def test_every_change_has_a_version_of_its_own(keys: Keys) -> None:
    versions = [keys.version()]
    key, _ = keys.create("alice")
    versions.append(keys.version())
    keys.rotate(key.id)
    versions.append(keys.version())
    keys.revoke(key.id)
    versions.append(keys.version())
    keys.create("bob")
    versions.append(keys.version())

    assert len(set(versions)) == len(versions) == 5
    assert keys.version() == versions[-1]


# --- who may come in ---


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

    def failing() -> tuple[int, int]:
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

    assert not opens(ring, text)
    assert [record.getMessage() for record in caplog.records] == [
        f"The keys cannot be read, so those known stay as they are: {fault}"
    ]


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

    def hanging() -> tuple[int, int]:
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

    monkeypatch.setattr("crossette.store.keys.hmac", SimpleNamespace(compare_digest=noting))
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
