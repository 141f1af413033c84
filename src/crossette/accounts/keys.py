"""The administration of keys: the record of a key, and the protocol `KeyStore`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Literal, Protocol, TypedDict

from crossette.accounts.access import UNLIMITED, Limits

LARGEST_LIMIT = 2**53
"""Larger integers are not exact as JSON numbers, and no useful limits."""

KeyState = Literal["active", "expired", "revoked"]


class KeyRecord(Protocol):
    """What is stored of a key, without its secret. Times have a time zone."""

    @property
    def id(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def created_at(self) -> datetime: ...
    @property
    def previous_until(self) -> datetime | None:
        """Until when the secret from before the last rotation is valid."""

    @property
    def expires_at(self) -> datetime | None: ...
    @property
    def revoked_at(self) -> datetime | None: ...
    @property
    def is_admin(self) -> bool: ...
    @property
    def models(self) -> frozenset[str] | None: ...
    @property
    def limits(self) -> Limits: ...

    def state(self, now: datetime) -> KeyState: ...


class KeyChanges(TypedDict, total=False):
    """New values of a key. What is left out stays."""

    name: str
    expires_at: datetime | None
    is_admin: bool
    models: frozenset[str] | None


class KeyStore(Protocol):
    """Stores keys. All calls block on the database. They raise DatabaseError; ConfigError for an invalid request."""

    def create(
        self,
        name: str,
        *,
        expires_at: datetime | None = None,
        models: frozenset[str] | None = None,
        limits: Limits = UNLIMITED,
        is_admin: bool = False,
    ) -> tuple[KeyRecord, str]:
        """Create a key. Returns its record and its text, which cannot be shown again."""

    def list(self) -> Sequence[KeyRecord]:
        """All keys ever created, oldest first."""

    def update(self, name_or_id: str, changes: KeyChanges, limits: Mapping[str, int | None] | None = None) -> KeyRecord:
        """Change a key in place. `limits` has the changed limits by name, None for one that is removed."""

    def rotate(self, name_or_id: str, overlap: timedelta = timedelta()) -> tuple[KeyRecord, str]:
        """Replace a key's secret. The old one stays valid for `overlap`."""

    def revoke(self, name_or_id: str) -> KeyRecord:
        """Revoke a key at once."""
