"""API keys: created, rotated and revoked; shown once, stored as hashes."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from functools import partial
from itertools import chain
from threading import Barrier, BrokenBarrierError
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Connection, select, update

from crossette.accounts.access import Limits
from crossette.accounts.database import keys as keys_module
from crossette.accounts.database.database import Database
from crossette.accounts.database.keys import Key, Keys, hash_of
from crossette.accounts.database.tables import keys as table
from crossette.accounts.keys import KeyChanges
from crossette.errors import ConfigError
from support.key_clock import NOW, Clock

LIMIT_S = 60


def test_a_key_is_stored_completely_except_for_its_secret(keys: Keys) -> None:
    limits = Limits(**{field.name: index + 1 for index, field in enumerate(dataclasses.fields(Limits))})
    values: dict[str, Any] = {
        "expires_at": NOW + timedelta(days=1),
        "models": frozenset({"a", "b"}),
        "limits": limits,
        "is_admin": True,
    }

    key, text = keys.create("alice", **values)

    assert keys.list() == [key]
    assert key == Key(key.id, "alice", hash_of(text), NOW, **values)


def test_the_database_never_contains_the_text_of_a_key(database: Database, keys: Keys) -> None:
    _, old = keys.create("alice")
    _, new = keys.rotate("alice")

    with database.read() as connection:
        dump = repr(connection.execute(select(table)).all())
    secrets = [text.rpartition("-")[2] for text in (old, new)]
    assert [len(secret) for secret in secrets] == [43, 43]
    assert [secret for secret in secrets if secret in dump] == []


def test_a_name_is_free_again_when_its_key_is_revoked(keys: Keys) -> None:
    first, _ = keys.create("alice")
    with pytest.raises(ConfigError, match="A key named 'alice' exists"):
        keys.create("alice")
    keys.revoke("alice")

    second, _ = keys.create("alice")

    assert [(key.id, key.state(NOW)) for key in keys.list()] == sorted(
        [(first.id, "revoked"), (second.id, "active")], key=lambda each: each[0]
    )


@pytest.mark.parametrize("is_revoked", [False, True])
def test_a_name_that_is_the_id_of_a_key_is_rejected(keys: Keys, is_revoked: bool) -> None:
    """Commands accept both, and the ledger contains the ids of revoked keys too."""
    key, _ = keys.create("alice")
    if is_revoked:
        keys.revoke("alice")

    with pytest.raises(ConfigError, match=f"'{key.id}' is the id of a key. Choose another name."):
        keys.create(key.id)
    keys.create(key.id + "0")


def test_an_id_is_never_the_name_or_the_id_of_an_existing_key(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    first, _ = keys.create("key-aaaaaaaa")
    letters = chain("A" * 8, first.id.removeprefix("key-"), "bbbbbbbb", iter(lambda: "x", None))
    monkeypatch.setattr(keys_module, "secrets", SimpleNamespace(choice=lambda alphabet: next(letters)))

    second, text = keys.create("alice")

    assert second.id == "key-bbbbbbbb" == keys_module.id_of(text)


def test_an_id_takes_precedence_over_an_equal_name(database: Database, keys: Keys) -> None:
    """Databases of earlier versions may have such names, even two keys named like each other's ids."""
    (one, _), (two, _) = keys.create("one"), keys.create("two")
    rename(database, one, two.id)
    rename(database, two, one.id)

    rotated, _ = keys.rotate(one.id)
    ended = keys.revoke(two.id)
    by_name = keys.revoke(two.id)  # no active key has this id any more

    assert (rotated.id, ended.id, by_name.id) == (one.id, two.id, one.id)


def rename(database: Database, key: Key, name: str) -> None:
    with database.write() as connection:
        connection.execute(update(table).where(table.c.id == key.id).values(name=name))


def test_the_name_of_a_key_that_cannot_be_read_is_taken(database: Database, keys: Keys) -> None:
    keys.create("alice")
    with database.write() as connection:
        connection.exec_driver_sql("UPDATE keys SET limits = '[1]'")

    with pytest.raises(ConfigError, match="A key named 'alice' exists"):
        keys.create("alice")


@pytest.mark.parametrize("name", ["", "x" * 101, "a\nb", "a\0"])
def test_a_name_that_is_not_printable_is_rejected(keys: Keys, name: str) -> None:
    with pytest.raises(ConfigError, match="A key's name is 1 to 100 printable characters"):
        keys.create(name)


def test_an_expiry_in_the_past_is_rejected(keys: Keys) -> None:
    with pytest.raises(ConfigError, match=r"The expiry 2026-11-23 12:00 UTC is in the past\."):
        keys.create("alice", expires_at=NOW)


@pytest.mark.parametrize("change", [Keys.revoke, Keys.rotate])
def test_an_unknown_key_cannot_be_changed(keys: Keys, change: Callable[[Keys, str], object]) -> None:
    keys.create("alice")
    for name in ("bob", "a\0b"):
        with pytest.raises(ConfigError, match=re.escape(f"No active key is named {name!r}. Keys: alice.")):
            change(keys, name)


@pytest.mark.parametrize("use", [Keys.create, Keys.revoke, Keys.rotate])
def test_a_secret_is_rejected_as_a_name_and_not_repeated(keys: Keys, use: Callable[[Keys, str], object]) -> None:
    _, text = keys.create("alice")

    with pytest.raises(ConfigError, match=r"is a secret key\. Give the key's name or id") as raised:
        use(keys, f" {text}")

    assert text.rpartition("-")[2] not in str(raised.value)
    assert [key.name for key in keys.list()] == ["alice"]


def test_an_expired_key_is_not_rotated(keys: Keys, clock: Clock) -> None:
    key, _ = keys.create("alice", expires_at=NOW + timedelta(hours=1))
    clock.now += timedelta(hours=1)

    with pytest.raises(ConfigError, match=r"expired on 2026-11-23 and cannot be rotated\. Set a later expiry"):
        keys.rotate("alice")

    assert keys.list() == [key]
    keys.revoke("alice")
    assert keys.create("alice")[0].state(clock.now) == "active"


@pytest.mark.slow
def test_a_revoke_during_a_rotate_stays(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each reads the key before it writes it."""
    keys.create("alice")
    meet_while_reading(monkeypatch)

    both(lambda: keys.rotate("alice"), lambda: keys.revoke("alice"))

    assert [key.state(NOW) for key in keys.list()] == ["revoked"]


@pytest.mark.slow
def test_of_two_concurrent_creations_of_a_name_one_fails(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    meet_while_reading(monkeypatch)

    failed = both(lambda: keys.create("alice"), lambda: keys.create("alice"))

    assert [str(error)[:26] for error in failed] == ["A key named 'alice' exists"]
    assert [key.name for key in keys.list()] == ["alice"]


@pytest.mark.slow
def test_a_revoke_during_an_update_stays(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    keys.create("alice")
    meet_while_reading(monkeypatch)

    both(lambda: keys.update("alice", {"is_admin": True}), lambda: keys.revoke("alice"))

    assert [key.state(NOW) for key in keys.list()] == ["revoked"]


def meet_while_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let two callers read before either writes, if they can; serialized callers are delayed only shortly."""
    meeting = Barrier(2)
    for name in ("_read", "_taken"):
        monkeypatch.setattr(keys_module, name, partial(_and_meet, getattr(keys_module, name), meeting))


def _and_meet(read: Callable[..., Any], meeting: Barrier, connection: Connection, *conditions: Any) -> Any:
    found = read(connection, *conditions)
    with suppress(BrokenBarrierError):
        meeting.wait(0.5)
    return found


def both(*uses: Callable[[], object]) -> list[ConfigError]:
    """Run the calls concurrently. Returns their ConfigErrors."""
    with ThreadPoolExecutor() as pool:
        ended = [running.exception(LIMIT_S) for running in [pool.submit(use) for use in uses]]
    return [error for error in ended if isinstance(error, ConfigError)]


def test_every_change_changes_the_version(keys: Keys) -> None:
    versions = [keys.version()]
    key, _ = keys.create("alice")
    versions.append(keys.version())
    keys.rotate(key.id)
    versions.append(keys.version())
    keys.update(key.id, {"is_admin": True})
    versions.append(keys.version())
    keys.revoke(key.id)
    versions.append(keys.version())
    keys.create("bob")
    versions.append(keys.version())

    assert len(set(versions)) == len(versions) == 6
    assert keys.version() == versions[-1]


# --- updates ---

CHANGES: list[KeyChanges] = [
    {"name": "bob"},
    {"is_admin": True},
    {"models": frozenset({"b"})},
    {"models": None},
    {"expires_at": NOW + timedelta(days=9)},
    {"expires_at": None},
]


@pytest.mark.parametrize("changes", CHANGES, ids=str)
def test_an_update_changes_what_it_names_and_nothing_else(keys: Keys, changes: KeyChanges) -> None:
    before, _ = keys.create(
        "alice",
        expires_at=NOW + timedelta(days=1),
        models=frozenset({"a"}),
        limits=Limits(total_tokens=5, requests_per_minute=7),
    )

    after = keys.update("alice", changes)

    assert after == dataclasses.replace(before, **changes)
    assert keys.list() == [after]


def test_single_limits_are_changed_added_and_removed(keys: Keys) -> None:
    keys.create("alice", limits=Limits(total_tokens=5, requests_per_minute=7, concurrent_requests=2))

    key = keys.update("alice", {}, {"total_tokens": None, "requests_per_minute": 8, "generated_tokens_per_minute": 9})

    assert key.limits == Limits(requests_per_minute=8, generated_tokens_per_minute=9, concurrent_requests=2)


def test_an_update_keeps_the_secret_and_the_one_before_it(keys: Keys, clock: Clock) -> None:
    _, old = keys.create("alice")
    _, new = keys.rotate("alice", timedelta(hours=1))

    key = keys.update("alice", {"name": "bob"})

    assert key.matches(old, clock.now) and key.matches(new, clock.now)


def test_an_expired_key_is_valid_again_with_a_later_expiry(keys: Keys, clock: Clock) -> None:
    keys.create("alice", expires_at=NOW + timedelta(hours=1))
    clock.now += timedelta(hours=2)

    assert keys.update("alice", {"expires_at": clock.now + timedelta(days=1)}).state(clock.now) == "active"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "bob"}, "A key named 'bob' exists"),
        ({"name": ""}, "1 to 100 printable characters"),
        ({"name": "sk-crossette-a-b"}, "is a secret key"),
        ({"expires_at": NOW}, "is in the past"),
    ],
)
def test_an_invalid_update_changes_nothing(keys: Keys, changes: KeyChanges, message: str) -> None:
    keys.create("bob")
    keys.create("alice")
    before = keys.list(), keys.version()

    with pytest.raises(ConfigError, match=message):
        keys.update("alice", changes)

    assert (keys.list(), keys.version()) == before


def test_a_key_cannot_be_renamed_to_the_id_of_another_one(keys: Keys) -> None:
    bob, _ = keys.create("bob")
    keys.create("alice")

    with pytest.raises(ConfigError, match="is the id of a key"):
        keys.update("alice", {"name": bob.id})


def test_a_key_may_keep_its_name_and_take_that_of_a_revoked_one(keys: Keys) -> None:
    keys.create("bob")
    keys.revoke("bob")
    keys.create("alice")

    assert keys.update("alice", {"name": "alice"}).name == "alice"
    assert keys.update("alice", {"name": "bob"}).name == "bob"


def test_a_revoked_key_is_not_updated(keys: Keys) -> None:
    keys.create("alice")
    keys.revoke("alice")

    with pytest.raises(ConfigError, match="No active key is named 'alice'"):
        keys.update("alice", {"is_admin": True})
