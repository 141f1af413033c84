"""The keys in memory: who may come in is decided without asking the database, which is looked at every second."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from crossette.accounts.access import ANONYMOUS, Caller
from crossette.accounts.database.keys import Key, Keys, KeysVersion, hash_of, id_of
from crossette.errors import StoreError, Unauthorized

log = logging.getLogger(__name__)

REFRESH_S = 1.0
"""A key that is revoked opens for so long at most."""
LAST_LOOK_S = 1.0
"""How long the end waits for a look at the database, which nobody needs any more."""

_GUEST = Caller("", "anonymous")
"""Who comes without a key where that is allowed to others than this machine's own users."""

_NOBODY = Key("", "", hash_of(""), datetime.min.replace(tzinfo=UTC), expires_at=datetime.min.replace(tzinfo=UTC))
"""What a key that is not known is compared with, so that it takes as long as one that is."""


class KeyRing:
    """Implements `Access`. Once any key was made it is closed, also when all are revoked or their table is gone."""

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
        self._known: Mapping[str, Key] = {}
        self._version: KeysVersion | None = None
        self._is_ended = threading.Event()
        self._thread = threading.Thread(target=self._keep_fresh, name="crossette-keys", daemon=True)
        self.is_closed = False
        """Whether keys were made."""

    def start(self) -> None:
        """Look at the database every second from now on."""
        self._thread.start()

    def close(self) -> None:
        self._is_ended.set()
        if self._thread.is_alive():
            self._thread.join(LAST_LOOK_S)

    def refresh(self) -> None:
        """Read the keys again if they have changed. Raises StoreError, and then those known stay."""
        version = self._keys.version()
        if version == self._version:
            return
        self._known = {key.id: key for key in self._keys.list()}
        self.is_closed = self.is_closed or version.num_keys > 0
        self._version = version

    def caller(self, key: str | None) -> Caller:
        """Whose key it is. Raises Unauthorized."""
        if not self.is_closed:
            return _GUEST if self._allow_anonymous else ANONYMOUS
        if not key:
            if self._allow_anonymous:
                return _GUEST
            raise Unauthorized("No API key was given. Send one as 'Authorization: Bearer KEY' or as 'x-api-key: KEY'.")
        now = self._clock()
        found = self._known.get(id_of(key), _NOBODY)
        if not found.matches(key, now) or found.state(now) == "revoked":
            raise Unauthorized("The API key you provided is invalid.")
        if found.state(now) == "expired":
            raise Unauthorized(f"The API key you provided is invalid: it expired on {found.expires_at:%Y-%m-%d}.")
        return found.caller

    def _keep_fresh(self) -> None:
        is_failing = False
        while not self._is_ended.wait(REFRESH_S):
            try:
                self.refresh()
            except Exception as error:  # without this thread a revoked key would open until the next start
                if not is_failing:
                    is_ours = not isinstance(error, StoreError)
                    log.warning("The keys cannot be read, so those known stay as they are: %s", error, exc_info=is_ours)
                is_failing = True
            else:
                is_failing = False
