"""API key authentication in memory; a thread refreshes the keys from the database every second."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from crossette.accounts.access import ANONYMOUS, Caller
from crossette.accounts.database.keys import Key, Keys, KeysVersion, hash_of, id_of
from crossette.errors import DatabaseError, Unauthorized

log = logging.getLogger(__name__)

REFRESH_S = 1.0
"""The longest time that a revoked key stays valid."""
CLOSE_TIMEOUT_S = 1.0
"""How long `close` waits for a refresh that is in progress."""

_ANONYMOUS_USER = Caller("", "anonymous")
"""The caller without a key under `allow_anonymous`: unlike `ANONYMOUS`, it is not an admin."""

_UNKNOWN_KEY = Key("", "", hash_of(""), datetime.min.replace(tzinfo=UTC), expires_at=datetime.min.replace(tzinfo=UTC))
"""Compared with unknown keys, so that they take as long as known ones."""


class KeyAuthenticator:
    """Implements `Authenticator`. Once a key was created a key is required, even if all are revoked or deleted."""

    def __init__(
        self,
        keys: Keys,
        *,
        allow_anonymous: bool = False,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._keys = keys
        self._allow_anonymous = allow_anonymous
        self._clock = clock
        self._known: dict[str, Key] = {}
        self._version: KeysVersion | None = None
        self._is_closing = threading.Event()
        self._thread = threading.Thread(target=self._refresh_loop, name="crossette-keys", daemon=True)
        self.has_keys = False
        """Whether any key was ever created."""

    def start(self) -> None:
        """Start refreshing the keys every second."""
        self._thread.start()

    def close(self) -> None:
        self._is_closing.set()
        if self._thread.is_alive():
            self._thread.join(CLOSE_TIMEOUT_S)

    def refresh(self) -> None:
        """Read the keys that have changed. On DatabaseError the known keys stay in use."""
        changed = self._keys.changes(self._version) if self._version is not None else None
        if changed is None:
            version = self._keys.version()  # before the keys: what changes meanwhile is read again
            self._known = {key.id: key for key in self._keys.list()}
        else:
            version = changed.version
            self._apply(changed.keys)
        self.has_keys = self.has_keys or version.number > 0
        self._version = version

    def _apply(self, changed: Mapping[str, Key | None]) -> None:
        """Each key for itself: another thread reads them."""
        for key_id, key in changed.items():
            if key is None:
                self._known.pop(key_id, None)
            else:
                self._known[key_id] = key

    def caller(self, key: str | None) -> Caller:
        """Return the caller of a key. Raises Unauthorized."""
        if not self.has_keys:
            return _ANONYMOUS_USER if self._allow_anonymous else ANONYMOUS
        if not key:
            if self._allow_anonymous:
                return _ANONYMOUS_USER
            raise Unauthorized("No API key was given. Send one as 'Authorization: Bearer KEY' or as 'x-api-key: KEY'.")
        now = self._clock()
        found = self._known.get(id_of(key), _UNKNOWN_KEY)
        if not found.matches(key, now):
            raise Unauthorized("The API key you provided is invalid.")
        return _active(found, now)

    def caller_of(self, key_id: str) -> Caller:
        """The caller of a key whose earlier request goes on now. Raises Unauthorized."""
        if not key_id or not self.has_keys:
            return self.caller(None)
        return _active(self._known.get(key_id, _UNKNOWN_KEY), self._clock())

    def _refresh_loop(self) -> None:
        is_failing = False
        while not self._is_closing.wait(REFRESH_S):
            try:
                self.refresh()
            except Exception as error:  # the thread must go on: without it a revoked key would stay valid
                if not is_failing:
                    is_bug = not isinstance(error, DatabaseError)
                    log.warning("Can't refresh the API keys. Known keys stay in use: %s", error, exc_info=is_bug)
                is_failing = True
            else:
                is_failing = False


def _active(key: Key, now: datetime) -> Caller:
    """Raises Unauthorized."""
    if key.state(now) == "revoked":
        raise Unauthorized("The API key you provided is invalid.")
    if key.state(now) == "expired":
        raise Unauthorized(f"The API key you provided is invalid: it expired on {key.expires_at:%Y-%m-%d}.")
    return key.caller
