"""Keys: made, renewed and revoked; shown once, kept as hashes."""

from __future__ import annotations

import dataclasses
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
from crossette.errors import ConfigError
from support.key_clock import NOW, Clock

LIMIT_S = 60


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


@pytest.mark.parametrize("is_revoked", [False, True])
def test_a_name_that_is_a_keys_id_is_refused(keys: Keys, is_revoked: bool) -> None:
    """Commands take either, and the ledger keeps the ids of revoked keys, too."""
    key, _ = keys.create("alice")
    if is_revoked:
        keys.revoke("alice")

    with pytest.raises(ConfigError, match=f"'{key.id}' is the id of another key. Choose another name."):
        keys.create(key.id)
    keys.create(key.id + "0")


def test_an_id_is_never_the_name_or_the_id_of_a_key_that_is_there(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    first, _ = keys.create("key-aaaaaaaa")
    drawn = chain("A" * 8, first.id.removeprefix("key-"), "bbbbbbbb", iter(lambda: "x", None))
    monkeypatch.setattr(keys_module, "secrets", SimpleNamespace(choice=lambda letters: next(drawn)))

    second, text = keys.create("alice")

    assert second.id == "key-bbbbbbbb" == keys_module.id_of(text)


def test_where_a_name_is_another_keys_id_the_id_goes_before_it(database: Database, keys: Keys) -> None:
    """A database that an earlier version wrote may have such names, even two keys named like one another."""
    (one, _), (two, _) = keys.create("one"), keys.create("two")
    rename(database, one, two.id)
    rename(database, two, one.id)

    renewed, _ = keys.rotate(one.id)
    ended = keys.revoke(two.id)
    by_name = keys.revoke(two.id)  # whose id is nobody's any more

    assert (renewed.id, ended.id, by_name.id) == (one.id, two.id, one.id)


def rename(database: Database, key: Key, name: str) -> None:
    with database.write() as connection:
        connection.execute(update(table).where(table.c.id == key.id).values(name=name))


def test_the_name_of_a_key_that_cannot_be_read_is_taken(database: Database, keys: Keys) -> None:
    keys.create("alice")
    with database.write() as connection:
        connection.exec_driver_sql("UPDATE keys SET limits = '[1]'")

    with pytest.raises(ConfigError, match="There is a key named 'alice'"):
        keys.create("alice")


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
    meeting = Barrier(2)
    for name in ("_read", "_taken"):
        monkeypatch.setattr(keys_module, name, partial(_and_meet, getattr(keys_module, name), meeting))


def _and_meet(read: Callable[[Connection], Any], meeting: Barrier, connection: Connection) -> Any:
    found = read(connection)
    with suppress(BrokenBarrierError):
        meeting.wait(0.5)
    return found


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
