"""API keys: created, listed, updated, rotated and revoked. A key is shown once; the database stores its hash."""

from __future__ import annotations

import dataclasses
import hmac
import logging
import secrets
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, false, insert, or_, select, update

from crossette.accounts.access import UNLIMITED, Caller, Limits
from crossette.accounts.database.database import Database
from crossette.accounts.database.tables import key_changes, keys
from crossette.accounts.keys import KeyChanges, KeyState
from crossette.errors import ConfigError

log = logging.getLogger(__name__)

PREFIX = "sk-crossette"
_ALPHABET = string.ascii_letters + string.digits
_SECRET_LENGTH = 43
"""43 characters of an alphabet of 62: 256 bits."""
_ID_LENGTH = 8
_ROWS_AT_ONCE = 1000
_MAX_NAMES = 20
"""Names in an error."""
_MAX_CHANGES = 1000
"""More changes than that are read as all keys."""


@dataclass(frozen=True, slots=True)
class Key:
    """The database record of a key. Times have a time zone."""

    id: str
    name: str
    hash: str
    created_at: datetime
    previous_hash: str | None = None
    previous_until: datetime | None = None
    """Until when the secret from before the last rotation is valid."""
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    is_admin: bool = False
    models: frozenset[str] | None = None
    limits: Limits = UNLIMITED

    @property
    def caller(self) -> Caller:
        return Caller(self.id, self.name, self.is_admin, self.models, self.limits)

    def matches(self, text: str, now: datetime) -> bool:
        """Whether `text` is this key, compared in constant time. Ignores expiry and revocation."""
        hashed = hash_of(text)
        current = hmac.compare_digest(hashed, self.hash)
        previous = hmac.compare_digest(hashed, self.previous_hash or "")
        return current or (previous and self.previous_until is not None and now < self.previous_until)

    def state(self, now: datetime) -> KeyState:
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= now else "active"


def hash_of(text: str) -> str:
    # No salt and no slow hash: 256 random bits cannot be guessed, and this runs for every request.
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def id_of(text: str) -> str:
    """The key id inside a key's text; for any other text an id that no key has."""
    return "key-" + text.removeprefix(PREFIX + "-").partition("-")[0]


class KeysVersion(NamedTuple):
    """The newest change of a key, in the order of changes. Its token is random, so that no other database has it."""

    number: int = 0
    """0 if there was never a key."""
    token: str = ""


class ChangedKeys(NamedTuple):
    """What changed since a version. A key is None if it was deleted or cannot be read."""

    version: KeysVersion
    keys: Mapping[str, Key | None]


class Keys:
    """The keys in a database. Raises DatabaseError; ConfigError for an invalid request."""

    def __init__(self, database: Database, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._database = database
        self._clock = clock

    def create(
        self,
        name: str,
        *,
        expires_at: datetime | None = None,
        models: frozenset[str] | None = None,
        limits: Limits = UNLIMITED,
        is_admin: bool = False,
    ) -> tuple[Key, str]:
        """Create a key. Returns its record and its text, which cannot be shown again."""
        now = self._clock()
        _check_expiry(expires_at, now)
        _check_name(name)
        with self._database.write_exclusively() as connection:
            _check_free(name, _taken(connection, name))
            key_id = _new_id(connection)
            text = _new_text(key_id)
            key = Key(key_id, name, hash_of(text), now, None, None, expires_at, None, is_admin, models, limits)
            connection.execute(insert(keys).values(version=1, **_row(key)))
        return key, text

    def list(self) -> Sequence[Key]:
        """All keys ever created, oldest first."""
        with self._database.read() as connection:
            return _read(connection)

    def revoke(self, name_or_id: str) -> Key:
        """Revoke a key at once."""
        return self._change(name_or_id, lambda key: dataclasses.replace(key, revoked_at=self._clock()))

    def update(self, name_or_id: str, changes: KeyChanges, limits: Mapping[str, int | None] | None = None) -> Key:
        """Change a key in place: its secret, its id and its usage stay.

        `limits` has the changed limits by name, None for one that is removed.
        """
        _check_expiry(changes.get("expires_at"), self._clock())
        return self._change(
            name_or_id,
            lambda key: dataclasses.replace(key, **changes, limits=dataclasses.replace(key.limits, **(limits or {}))),
        )

    def rotate(self, name_or_id: str, overlap: timedelta = timedelta()) -> tuple[Key, str]:
        """Replace a key's secret. The old one stays valid for `overlap`; id, limits and usage do not change."""
        texts: list[str] = []

        def rotated(key: Key) -> Key:
            if key.state(self._clock()) == "expired":
                raise ConfigError(
                    f"The key {key.name!r} expired on {key.expires_at:%Y-%m-%d} and cannot be rotated. "
                    "Set a later expiry first, or revoke it."
                )
            texts.append(_new_text(key.id))
            return dataclasses.replace(
                key, hash=hash_of(texts[0]), previous_hash=key.hash, previous_until=self._clock() + overlap
            )

        return self._change(name_or_id, rotated), texts[0]

    def version(self) -> KeysVersion:
        """A value that changes when a key is created, changed or deleted, or when the database is replaced."""
        with self._database.read() as connection:
            return _version(connection)

    def changes(self, since: KeysVersion) -> ChangedKeys | None:
        """What changed since a version. None if this database has no such version: all keys must be read then."""
        newer = select(key_changes).where(key_changes.c.number >= since.number).order_by(key_changes.c.number)
        with self._database.read() as connection:
            if not since.number:
                return None if _version(connection).number else ChangedKeys(since, {})
            rows = connection.execute(newer.limit(_MAX_CHANGES)).all()
            if not rows or rows[0].token != since.token or len(rows) == _MAX_CHANGES:
                return None
            if len(rows) == 1:
                return ChangedKeys(since, {})
            ids = {row.key_id for row in rows[1:]}
            found = {key.id: key for key in _read(connection, keys.c.id.in_(ids))}
        return ChangedKeys(KeysVersion(rows[-1].number, rows[-1].token), {key_id: found.get(key_id) for key_id in ids})

    def _change(self, name_or_id: str, change: Callable[[Key], Key]) -> Key:
        _reject_secret(name_or_id)
        with self._database.write_exclusively() as connection:
            named = _read(connection, *_active(name_or_id))
            # Ids take precedence: old databases may have a key named like another key's id.
            found = sorted(named, key=lambda key: key.id != name_or_id)
            if not found:
                raise ConfigError(f"No active key is named {name_or_id!r}. Keys: {_names(connection)}.")
            key = change(found[0])
            if key.name != found[0].name:
                _check_name(key.name)
                _check_free(key.name, _taken(connection, key.name))
            values = {**_row(key), "version": keys.c.version + 1}
            connection.execute(update(keys).where(keys.c.id == key.id).values(values))
        return key


def _reject_secret(name: str) -> None:
    """Raise ConfigError for a key's secret in place of a name, so that it is neither stored nor shown."""
    if PREFIX in name:
        raise ConfigError(f"Text with {PREFIX} is a secret key. Give the key's name or id.")


def _active(name_or_id: str) -> tuple[ColumnElement[bool], ...]:
    """The conditions of active keys with a name or an id. No database compares texts that are not printable."""
    if not name_or_id.isprintable():
        return (false(),)
    return or_(keys.c.id == name_or_id, keys.c.name == name_or_id), keys.c.revoked_at.is_(None)


def _check_name(name: str) -> None:
    """Raise ConfigError for an invalid name."""
    _reject_secret(name)
    if not name or len(name) > 100 or not name.isprintable():
        raise ConfigError(f"A key's name is 1 to 100 printable characters, not {name!r}.")


def _check_free(name: str, taken: _Taken) -> None:
    """Raise ConfigError for a name that refers to another key."""
    if taken.is_name:
        raise ConfigError(f"A key named {name!r} exists. Rotate, update or revoke it, or choose another name.")
    if taken.is_id:
        raise ConfigError(f"{name!r} is the id of a key. Choose another name.")


def _check_expiry(expires_at: datetime | None, now: datetime) -> None:
    if expires_at is not None and expires_at <= now:
        raise ConfigError(f"The expiry {expires_at:%Y-%m-%d %H:%M} UTC is in the past.")


class _Taken(NamedTuple):
    """Of one text: whether it is the name of a key that is not revoked, and the id of any key."""

    is_name: bool
    is_id: bool


def _taken(connection: Connection, text: str) -> _Taken:
    """Includes keys that this version cannot read."""
    columns = (keys.c.id, keys.c.name, keys.c.revoked_at)
    rows = connection.execute(select(*columns).where(or_(keys.c.id == text, keys.c.name == text))).all()
    return _Taken(any(row.name == text and row.revoked_at is None for row in rows), any(row.id == text for row in rows))


def _names(connection: Connection) -> str:
    """The names of some active keys, for an error."""
    active = select(keys.c.name).where(keys.c.revoked_at.is_(None)).order_by(keys.c.created_at, keys.c.id)
    names = list(connection.scalars(active.limit(_MAX_NAMES + 1)))
    return ", ".join([*names[:_MAX_NAMES], "…"] if len(names) > _MAX_NAMES else names) or "none"


def _new_id(connection: Connection) -> str:
    """Generate an id that is neither the id nor the name of another key, as commands accept both."""
    while True:
        key_id = "key-" + _random(_ID_LENGTH).lower()
        if not any(_taken(connection, key_id)):
            return key_id


def _version(connection: Connection) -> KeysVersion:
    newest = select(key_changes.c.number, key_changes.c.token).order_by(key_changes.c.number.desc()).limit(1)
    row = connection.execute(newest).one_or_none()
    return KeysVersion() if row is None else KeysVersion(*row)


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def _new_text(key_id: str) -> str:
    return f"{PREFIX}-{key_id.removeprefix('key-')}-{_random(_SECRET_LENGTH)}"


def _read(connection: Connection, *conditions: ColumnElement[bool]) -> list[Key]:
    """The keys that this version can read. A key of a newer version must not make the others unreadable."""
    query = select(keys).where(*conditions).order_by(keys.c.created_at, keys.c.id)
    rows = connection.execute(query, execution_options={"yield_per": _ROWS_AT_ONCE}).mappings()
    found: list[Key] = []
    known_limits: dict[str, Limits] = {}
    while True:
        try:
            row = rows.fetchone()  # decodes the JSON and the times of one row
            if row is None:
                return found
            found.append(_key(dict(row), known_limits))
        except (TypeError, ValueError) as error:
            log.warning("This version of crossette cannot read a key and rejects it: %s", error)


def _key(row: dict[str, Any], known_limits: dict[str, Limits]) -> Key:
    """Raises ValueError for a row with unknown values: they may restrict the key. Keys share equal limits."""
    del row["version"]
    models = row.pop("models")
    try:
        given = row.pop("limits")
        limits = known_limits.setdefault(str(given), Limits(**given))
        if any(type(bound) is not int for bound in given.values() if bound is not None):
            raise TypeError("a limit is not an integer")
        return Key(**row, models=frozenset(models) if models is not None else None, limits=limits)
    except TypeError as error:
        raise ValueError(f"{row['id']}: {error}") from error


def _row(key: Key) -> dict[str, Any]:
    row = {field.name: getattr(key, field.name) for field in dataclasses.fields(key)}
    models = sorted(key.models) if key.models is not None else None
    limits = {name: bound for name, bound in dataclasses.asdict(key.limits).items() if bound is not None}
    return {**row, "models": models, "limits": limits}
