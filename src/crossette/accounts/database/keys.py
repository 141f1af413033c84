"""Keys: made, listed, renewed and revoked. A key is shown once; what is kept is its hash."""

from __future__ import annotations

import dataclasses
import hmac
import logging
import secrets
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, String, cast, func, insert, select, update

from crossette.accounts.access import UNLIMITED, Caller, Limits
from crossette.accounts.database.database import Database
from crossette.accounts.database.tables import keys
from crossette.errors import ConfigError

log = logging.getLogger(__name__)

PREFIX = "sk-crossette"
_ALPHABET = string.ascii_letters + string.digits
_SECRET_LENGTH = 43
"""Of 62 characters: 256 bits."""
_ID_LENGTH = 8


@dataclass(frozen=True, slots=True)
class Key:
    """What is known of a key. Times have their zone."""

    id: str
    name: str
    hash: str
    created_at: datetime
    previous_hash: str | None = None
    previous_until: datetime | None = None
    """Until when the key from before the last rotation still opens."""
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    is_admin: bool = False
    models: frozenset[str] | None = None
    limits: Limits = UNLIMITED

    @property
    def caller(self) -> Caller:
        return Caller(self.id, self.name, self.is_admin, self.models, self.limits)

    def matches(self, text: str, now: datetime) -> bool:
        """Whether `text` is this key, compared in constant time. Says nothing of expiry and revocation."""
        hashed = hash_of(text)
        current = hmac.compare_digest(hashed, self.hash)
        previous = hmac.compare_digest(hashed, self.previous_hash or "")
        return current or (previous and self.previous_until is not None and now < self.previous_until)

    def state(self, now: datetime) -> str:
        """`active`, `expired` or `revoked`."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= now else "active"


def hash_of(text: str) -> str:
    # No salt and no slow hash: nobody guesses 256 random bits, and this is computed for every request.
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def id_of(text: str) -> str:
    """The id that a key's text names; any other text gives one that no key has."""
    return "key-" + text.removeprefix(PREFIX + "-").partition("-")[0]


class KeysVersion(NamedTuple):
    """How many keys there are, also those that cannot be read, and what no other keys have."""

    num_keys: int
    marks: str


class Keys:
    """The keys in a database. Raises StoreError; ConfigError for what cannot be done."""

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
        """Make a key: what is kept of it, and its text, which nobody can show again."""
        _refuse_text(name)
        if not name or len(name) > 100 or not name.isprintable():
            raise ConfigError(f"A key's name is 1 to 100 printable characters, not {name!r}.")
        now = self._clock()
        if expires_at is not None and expires_at <= now:
            raise ConfigError(f"The key would have expired already: {expires_at:%Y-%m-%d %H:%M} UTC is past.")
        with self._database.write_alone() as connection:
            taken = _taken(connection)
            if name in taken.names:
                raise ConfigError(f"There is a key named {name!r}. Rotate or revoke it, or choose another name.")
            if name in taken.ids:
                raise ConfigError(f"{name!r} is the id of another key. Choose another name.")
            key_id = _new_id(taken)
            text = _new_text(key_id)
            key = Key(key_id, name, hash_of(text), now, None, None, expires_at, None, is_admin, models, limits)
            connection.execute(insert(keys).values(version=1, **_row(key)))
        return key, text

    def list(self) -> Sequence[Key]:
        """All that were ever made, oldest first."""
        with self._database.read() as connection:
            return _read(connection)

    def revoke(self, name_or_id: str) -> Key:
        """End a key at once."""
        return self._change(name_or_id, lambda key: dataclasses.replace(key, revoked_at=self._clock()))

    def rotate(self, name_or_id: str, overlap: timedelta = timedelta()) -> tuple[Key, str]:
        """Give a key a new text. The old one opens for `overlap` longer; id, limits and usage stay."""
        texts: list[str] = []

        def renewed(key: Key) -> Key:
            if key.state(self._clock()) == "expired":
                raise ConfigError(
                    f"The key {key.name!r} expired on {key.expires_at:%Y-%m-%d}: a new text would not open either. "
                    "Revoke it, and create one with its name."
                )
            texts.append(_new_text(key.id))
            return dataclasses.replace(
                key, hash=hash_of(texts[0]), previous_hash=key.hash, previous_until=self._clock() + overlap
            )

        return self._change(name_or_id, renewed), texts[0]

    def version(self) -> KeysVersion:
        """Differs from an earlier one if a key was made or changed since, or if these are the keys of another database.

        Cheap enough for every second. An order of the rows that changes by itself makes another version, too.
        """
        with self._database.read() as connection:
            # Numbers of changes can be the same by chance, as after a backup was put back; hashes of keys cannot.
            every: ColumnElement[str] = func.aggregate_strings(keys.c.hash + cast(keys.c.version, String), ",")
            if connection.dialect.name == "postgresql":  # which may be far away
                every = func.md5(every)
            num_keys, marks = connection.execute(select(func.count(), every)).one()
            return KeysVersion(num_keys, marks or "")

    def _change(self, name_or_id: str, change: Callable[[Key], Key]) -> Key:
        _refuse_text(name_or_id)
        with self._database.write_alone() as connection:
            known = [key for key in _read(connection) if not key.revoked_at]
            # An id goes before a name: in a database that has a name that is another key's id, only ids are sure.
            found = [key for key in known if key.id == name_or_id] or [key for key in known if key.name == name_or_id]
            if not found:
                names = ", ".join(key.name for key in known) or "none"
                raise ConfigError(f"There is no key {name_or_id!r} that is not revoked. Keys: {names}.")
            key = change(found[0])
            values = {**_row(key), "version": keys.c.version + 1}
            connection.execute(update(keys).where(keys.c.id == key.id).values(values))
        return key


def _refuse_text(name: str) -> None:
    """Before it is told in an error, or kept. Raises ConfigError."""
    if PREFIX in name:
        raise ConfigError(f"What holds {PREFIX} is a key's text. Give its name or its id: crossette keys list.")


class _Taken(NamedTuple):
    """The names of keys that are not revoked, and the ids of all."""

    names: set[str]
    ids: set[str]


def _taken(connection: Connection) -> _Taken:
    """Also those of keys that this version cannot read."""
    rows = connection.execute(select(keys.c.id, keys.c.name, keys.c.revoked_at)).all()
    return _Taken({row.name for row in rows if row.revoked_at is None}, {row.id for row in rows})


def _new_id(taken: _Taken) -> str:
    """An id that is neither the id nor the name of another key: commands take either."""
    while True:
        key_id = "key-" + _random(_ID_LENGTH).lower()
        if key_id not in taken.ids and key_id not in taken.names:
            return key_id


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def _new_text(key_id: str) -> str:
    return f"{PREFIX}-{key_id.removeprefix('key-')}-{_random(_SECRET_LENGTH)}"


def _read(connection: Connection) -> list[Key]:
    """The keys that this version can read. One that it cannot, a newer one's, must not hide the others."""
    rows = connection.execute(select(keys).order_by(keys.c.created_at, keys.c.id)).mappings()
    found: list[Key] = []
    while True:
        try:
            row = rows.fetchone()  # reads the JSON and the times of one row
            if row is None:
                return found
            found.append(_key(dict(row)))
        except (TypeError, ValueError) as error:
            log.warning("A key cannot be read by this version of crossette, so it does not open: %s", error)


def _key(row: dict[str, Any]) -> Key:
    """Raises ValueError for a row with anything that is not known: it may be what restricts the key."""
    del row["version"]
    models = row.pop("models")
    try:
        limits = Limits(**row.pop("limits"))
        if any(type(bound) is not int for bound in dataclasses.astuple(limits) if bound is not None):
            raise TypeError("a limit is no whole number")
        return Key(**row, models=frozenset(models) if models is not None else None, limits=limits)
    except TypeError as error:
        raise ValueError(f"{row['id']}: {error}") from error


def _row(key: Key) -> dict[str, Any]:
    row = {field.name: getattr(key, field.name) for field in dataclasses.fields(key)}
    models = sorted(key.models) if key.models is not None else None
    limits = {name: bound for name, bound in dataclasses.asdict(key.limits).items() if bound is not None}
    return {**row, "models": models, "limits": limits}
