"""API key authentication in memory, refreshed from the database."""

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
from crossette.accounts.database import authenticator
from crossette.accounts.database.authenticator import KeyAuthenticator
from crossette.accounts.database.database import Database
from crossette.accounts.database.keys import ChangedKeys, Key, Keys, KeysVersion, hash_of, id_of
from crossette.accounts.database.tables import keys as table
from crossette.errors import DatabaseError, Unauthorized
from support.key_clock import NOW, Clock

LIMIT_S = 60
INVALID = "The API key you provided is invalid."


def rejection(auth: KeyAuthenticator, key: str | None) -> str:
    auth.refresh()
    with pytest.raises(Unauthorized) as raised:
        auth.caller(key)
    return raised.value.message


def caller(auth: KeyAuthenticator, key: str | None) -> Caller:
    auth.refresh()
    return auth.caller(key)


@pytest.mark.parametrize("sent", [None, "", "EMPTY", "sk-no-key"])
def test_without_keys_every_request_is_anonymous_whatever_key_is_sent(auth: KeyAuthenticator, sent: str | None) -> None:
    assert caller(auth, sent) == ANONYMOUS


def test_a_key_authenticates_its_caller(keys: Keys, auth: KeyAuthenticator) -> None:
    limits = Limits(requests_per_minute=3)
    key, text = keys.create("alice", models=frozenset({"a"}), limits=limits)
    boss, other = keys.create("boss", is_admin=True)

    assert caller(auth, text) == Caller(key.id, "alice", False, frozenset({"a"}), limits)
    assert caller(auth, other) == Caller(boss.id, "boss", True)


def test_an_updated_key_authenticates_its_caller_as_updated(keys: Keys, auth: KeyAuthenticator) -> None:
    key, text = keys.create("alice", limits=Limits(requests_per_minute=3))
    assert caller(auth, text).limits == Limits(requests_per_minute=3)

    keys.update("alice", {"name": "bob", "models": frozenset({"a"})}, {"requests_per_minute": 4})

    assert caller(auth, text) == Caller(key.id, "bob", False, frozenset({"a"}), Limits(requests_per_minute=4))


def test_once_a_key_was_created_a_key_is_required(keys: Keys, auth: KeyAuthenticator) -> None:
    _, text = keys.create("alice")

    assert rejection(auth, "x") == rejection(auth, text + "x") == rejection(auth, text[:-1]) == INVALID
    assert rejection(auth, None).startswith("No API key was given. Send one as 'Authorization: Bearer KEY'")


def test_revoking_all_keys_does_not_disable_authentication(keys: Keys, auth: KeyAuthenticator) -> None:
    _, text = keys.create("alice")
    keys.revoke("alice")

    assert rejection(auth, text) == INVALID
    assert rejection(auth, None).startswith("No API key was given.")


def test_deleting_all_keys_does_not_disable_authentication(
    database: Database, keys: Keys, auth: KeyAuthenticator
) -> None:
    _, text = keys.create("alice")
    assert caller(auth, text).name == "alice"
    with database.write() as connection:
        connection.execute(table.delete())

    assert rejection(auth, text) == INVALID
    assert rejection(auth, None).startswith("No API key was given.")


def test_the_rejection_of_an_expired_key_mentions_the_expiry(keys: Keys, auth: KeyAuthenticator, clock: Clock) -> None:
    _, text = keys.create("alice", expires_at=NOW + timedelta(hours=1))
    assert caller(auth, text).name == "alice"

    clock.now += timedelta(hours=1)

    assert rejection(auth, text) == "The API key you provided is invalid: it expired on 2026-11-23."
    assert rejection(auth, text + "x") == INVALID


def test_the_old_secret_of_a_rotated_key_is_valid_during_the_overlap(
    keys: Keys, auth: KeyAuthenticator, clock: Clock
) -> None:
    key, old = keys.create("alice")
    _, new = keys.rotate("alice", timedelta(hours=1))
    assert caller(auth, old) == caller(auth, new) == key.caller

    clock.now += timedelta(hours=1)

    assert caller(auth, new) == key.caller
    assert rejection(auth, old) == INVALID


def test_without_an_overlap_the_old_secret_is_invalid_at_once(keys: Keys, auth: KeyAuthenticator) -> None:
    _, old = keys.create("alice")
    keys.rotate("alice")

    assert rejection(auth, old) == INVALID


def test_anonymous_requests_are_accepted_if_allowed_but_are_not_admins(keys: Keys) -> None:
    auth = KeyAuthenticator(keys, allow_anonymous=True)
    before_any_key = auth.caller(None)
    keys.create("alice")

    assert before_any_key == Caller("", "anonymous", is_admin=False)
    assert caller(auth, None) == Caller("", "anonymous", is_admin=False)
    assert rejection(auth, "x") == INVALID


def test_known_keys_stay_valid_while_the_database_is_unreachable(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("unreachable")
    database = Database(f"sqlite:///{folder}/crossette.db")
    database.migrate()
    keys = Keys(database)
    auth = KeyAuthenticator(keys)
    _, text = keys.create("alice")
    auth.refresh()
    (folder / "crossette.db").rename(folder / "elsewhere.db")

    with pytest.raises(DatabaseError):
        auth.refresh()
    assert auth.caller(text).name == "alice"


def test_a_replaced_database_is_noticed_even_with_as_many_changes(
    tmp_path: Path, auth: KeyAuthenticator, keys: Keys, database: Database
) -> None:
    """Another file under the same name, or other rows in the same tables."""
    other = Database(f"sqlite:///{tmp_path}/other.db")
    other.migrate()
    _, ours = keys.create("alice")
    _, theirs = Keys(other).create("alice")
    assert caller(auth, ours).name == "alice"

    with other.read() as connection:
        rows = [dict(row) for row in connection.execute(select(table)).mappings()]
    other.close()
    if database.file:
        (tmp_path / "other.db").rename(database.file)
        database.file.with_name(database.file.name + "-wal").unlink()  # the WAL of the replaced file
    else:
        with database.write() as connection:
            connection.execute(table.delete())
            connection.execute(table.insert(), rows)

    assert rejection(auth, ours) == INVALID
    assert caller(auth, theirs).name == "alice"


def test_a_restored_backup_is_noticed_even_with_as_many_changes(
    database: Database, keys: Keys, auth: KeyAuthenticator
) -> None:
    """One of two keys is revoked; then a backup is restored and the other one is revoked."""
    (first, lost), (second, found) = keys.create("first"), keys.create("second")
    with database.read() as connection:
        backup = [dict(row) for row in connection.execute(select(table)).mappings()]
    keys.revoke(first.id)
    assert rejection(auth, lost) == INVALID

    with database.write() as connection:
        connection.execute(table.delete())
        connection.execute(table.insert(), backup)
    keys.revoke(second.id)

    assert rejection(auth, found) == INVALID
    assert caller(auth, lost).name == "first"


def test_only_keys_that_have_changed_are_read(
    keys: Keys, auth: KeyAuthenticator, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = {name: keys.create(name)[1] for name in ("alice", "bob")}
    auth.refresh()
    monkeypatch.setattr(keys, "list", lambda: pytest.fail("all keys were read"))
    found, changes = list[ChangedKeys | None](), keys.changes

    def noting(since: KeysVersion) -> ChangedKeys | None:
        found.append(changes(since))
        return found[-1]

    monkeypatch.setattr(keys, "changes", noting)

    for _ in range(5):
        auth.refresh()
    revoked = keys.revoke("alice")
    auth.refresh()

    assert [dict(each.keys) for each in found if each is not None] == [{}] * 5 + [{revoked.id: revoked}]
    assert (caller(auth, texts["bob"]).name, rejection(auth, texts["alice"])) == ("bob", INVALID)


UNREADABLE = [
    {"limits": '{"requests_per_fortnight": 3}'},
    {"limits": '{"requests_per_minute": "many"}'},
    {"limits": "[1]"},
    {"models": "3"},
]


@pytest.mark.parametrize("values", UNREADABLE, ids=str)
def test_a_key_with_unknown_values_is_rejected_and_the_others_stay_valid(
    database: Database,
    keys: Keys,
    auth: KeyAuthenticator,
    values: dict[str, str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    _, before = keys.create("before")
    odd, text = keys.create("odd", limits=Limits(requests_per_minute=1))
    _, after = keys.create("after")
    assert caller(auth, text).name == "odd"

    corrupt(database, odd, values)

    assert rejection(auth, text) == INVALID
    assert (caller(auth, before).name, caller(auth, after).name) == ("before", "after")
    (message,) = {record.getMessage() for record in caplog.records}
    assert message.startswith(f"This version of crossette cannot read a key and rejects it: {odd.id}: ")


def test_a_key_with_invalid_json_is_rejected_and_the_others_stay_valid(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    database = Database(f"sqlite:///{tmp_path}/crossette.db")
    database.migrate()
    keys = Keys(database)
    odd, text = keys.create("odd")
    _, after = keys.create("after")
    corrupt(database, odd, {"limits": "{", "created_at": "2000-01-01 00:00:00.000000"})
    auth = KeyAuthenticator(keys)

    assert rejection(auth, text) == INVALID
    assert caller(auth, after).name == "after"
    database.close()
    assert [record.getMessage()[:40] for record in caplog.records] == ["This version of crossette cannot read a "]


def test_unreadable_keys_do_not_disable_authentication(database: Database, keys: Keys, auth: KeyAuthenticator) -> None:
    odd, text = keys.create("odd")
    corrupt(database, odd, {"limits": "[1]"})

    assert rejection(auth, text) == INVALID
    assert rejection(auth, None).startswith("No API key was given.")


def corrupt(database: Database, key: Key, values: dict[str, str]) -> None:
    changes = ", ".join(f"{name} = '{value}'" for name, value in values.items())
    with database.write() as connection:
        connection.exec_driver_sql(f"UPDATE keys SET {changes}, version = version + 1 WHERE id = '{key.id}'")


@pytest.mark.parametrize(
    "fault", [DatabaseError("unreachable"), PermissionError("not yours"), TypeError("what is this")]
)
def test_no_error_ends_the_refresh_and_repeated_errors_are_logged_once(
    keys: Keys, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fault: Exception
) -> None:
    monkeypatch.setattr(authenticator, "REFRESH_S", 0.01)
    _, text = keys.create("alice")
    auth = KeyAuthenticator(keys)
    auth.refresh()
    keys.revoke("alice")
    num_reads, changes = count(), keys.changes

    def failing(since: KeysVersion) -> ChangedKeys | None:
        if next(num_reads) < 3:
            raise fault
        return changes(since)

    monkeypatch.setattr(keys, "changes", failing)
    auth.start()
    for _ in range(LIMIT_S * 100):
        if not is_valid(auth, text):
            break
        Event().wait(0.01)
    auth.close()

    assert (is_valid(auth, text), auth._thread.is_alive()) == (False, False)
    (record,) = caplog.records
    assert record.getMessage() == f"Can't refresh the API keys. Known keys stay in use: {fault}"
    assert bool(record.exc_info) == (not isinstance(fault, DatabaseError))  # only a bug needs a traceback


def is_valid(auth: KeyAuthenticator, text: str) -> bool:
    try:
        auth.caller(text)
    except Unauthorized:
        return False
    return True


def test_close_does_not_wait_for_a_database_that_hangs(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authenticator, "REFRESH_S", 0.01)
    monkeypatch.setattr(authenticator, "CLOSE_TIMEOUT_S", 0.01)
    is_called, answers = Event(), Event()

    def hanging(since: KeysVersion) -> ChangedKeys:
        is_called.set()
        answers.wait(LIMIT_S)
        return ChangedKeys(since, {})

    auth = KeyAuthenticator(keys)
    auth.refresh()
    monkeypatch.setattr(keys, "changes", hanging)
    auth.start()
    assert is_called.wait(LIMIT_S)

    auth.close()  # would block

    assert not answers.is_set()
    answers.set()


def test_known_and_unknown_keys_are_compared_equally_often_in_constant_time(
    keys: Keys, auth: KeyAuthenticator, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, right = keys.create("alice")
    auth.refresh()
    compared: list[tuple[int, int]] = []

    def recording(one: str, other: str) -> bool:
        compared.append((len(one), len(other)))
        return hmac.compare_digest(one, other)

    monkeypatch.setattr("crossette.accounts.database.keys.hmac", SimpleNamespace(compare_digest=recording))
    seen = []
    for text in (right, right + "x", "sk-crossette-unknown1-" + "x" * 43, "x"):
        compared.clear()
        is_valid(auth, text)
        seen.append(list(compared))

    assert seen == [[(64, 64), (64, 0)]] * 4


@given(st.text() | st.from_regex(r"\Ask-crossette-[a-z0-9]{8}-[A-Za-z0-9]{43}\Z"))
def test_no_other_text_is_valid(text: str) -> None:
    key = Key(id_of(text), "alice", hash_of("sk-crossette-abcdefgh-" + "x" * 43), NOW)

    assert not key.matches(text, NOW)
