"""The wire types of the administration of keys."""

from __future__ import annotations

import dataclasses
from datetime import datetime
from typing import ClassVar

import msgspec
from msgspec import UNSET, UnsetType

from crossette.accounts.keys import LARGEST_LIMIT, KeyRecord, KeyState
from crossette.api.schema.table import REQUIRED, Description, Field, Table
from crossette.types import within

_EXPIRES = "When the key is rejected: in `30d` or `24h`, or at a time such as `2027-01-31`."
_MODELS = "The models or aliases that it may use; null allows all."
_ADMIN = "Whether it may manage keys and models, and read all usage and the metrics."
_LIMITS = "The limits; null removes one."


class KeyLimits(msgspec.Struct, kw_only=True):
    """The limits of a key; null is unlimited."""

    requests_per_minute: int | None
    prompt_tokens_per_minute: int | None
    cached_tokens_per_minute: int | None
    generated_tokens_per_minute: int | None
    concurrent_requests: int | None
    total_tokens: int | None


class KeyObject(msgspec.Struct, kw_only=True):
    """A key without its secret. Times are in seconds since 1970."""

    id: str
    object: str = "key"
    name: str
    state: KeyState
    is_admin: bool
    created_at: int
    expires_at: int | None
    revoked_at: int | None
    previous_secret_until: int | None
    """Until when the secret from before the last rotation is valid."""
    models: list[str] | None
    limits: KeyLimits
    used_tokens: int
    """Prompt and completion tokens over its lifetime, which the limit `total_tokens` compares."""


class SecretKey(KeyObject, kw_only=True):
    """A key that was created or rotated."""

    key: str
    """The secret. It is returned only this once."""


class KeyList(msgspec.Struct, kw_only=True):
    object: str = "list"
    data: list[KeyObject]


def _limit(note: str) -> Field:
    return Field(note, limits=(1, LARGEST_LIMIT))


class LimitsSent(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    table: ClassVar[Table] = Table(
        {
            "requests_per_minute": _limit("Requests per minute."),
            "prompt_tokens_per_minute": _limit("Prompt tokens per minute, cached ones included."),
            "cached_tokens_per_minute": _limit("Prompt tokens per minute from the prefix cache."),
            "generated_tokens_per_minute": _limit("Generated tokens per minute."),
            "concurrent_requests": _limit("Requests at the same time."),
            "total_tokens": _limit("The budget: tokens over the life of the key, prompts included."),
        }
    )

    requests_per_minute: int | UnsetType | None = UNSET
    prompt_tokens_per_minute: int | UnsetType | None = UNSET
    cached_tokens_per_minute: int | UnsetType | None = UNSET
    generated_tokens_per_minute: int | UnsetType | None = UNSET
    concurrent_requests: int | UnsetType | None = UNSET
    total_tokens: int | UnsetType | None = UNSET

    def given(self) -> dict[str, int | None]:
        """The limits that were sent. Raises InvalidRequest for one that is out of range."""
        sent = {name: value for name, value in msgspec.structs.asdict(self).items() if value is not UNSET}
        for name, value in sent.items():
            if value is not None:
                within(f"limits.{name}", value, (1, LARGEST_LIMIT))
        return sent


class CreateKeyRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    table: ClassVar[Table] = Table(
        {
            "name": Field("A name for lists and reports: 1 to 100 printable characters.", default=REQUIRED),
            "expires": Field(_EXPIRES, default=Description("never")),
            "models": Field(_MODELS),
            "is_admin": Field(_ADMIN, default=False),
            "limits": Field(_LIMITS, default=Description("none")),
        }
    )

    name: str
    expires: str | None = None
    models: list[str] | None = None
    is_admin: bool | None = None
    limits: LimitsSent | None = None


class UpdateKeyRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What is left out stays."""

    table: ClassVar[Table] = Table(
        {
            "name": Field("Another name."),
            "expires": Field(f"{_EXPIRES} Null: never."),
            "models": Field(_MODELS),
            "is_admin": Field(_ADMIN),
            "limits": Field(f"{_LIMITS} What is left out stays."),
        }
    )

    name: str | UnsetType = UNSET
    expires: str | UnsetType | None = UNSET
    models: list[str] | UnsetType | None = UNSET
    is_admin: bool | UnsetType = UNSET
    limits: LimitsSent | UnsetType = UNSET


class RotateKeyRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    table: ClassVar[Table] = Table(
        {"overlap": Field("For how long the old secret is valid as well: `24h`, `7d`.", default="0h")}
    )

    overlap: str | None = None


def key_object(key: KeyRecord, now: datetime, used_tokens: int) -> KeyObject:
    return KeyObject(
        id=key.id,
        name=key.name,
        state=key.state(now),
        is_admin=key.is_admin,
        created_at=int(key.created_at.timestamp()),
        expires_at=_seconds(key.expires_at),
        revoked_at=_seconds(key.revoked_at),
        previous_secret_until=_seconds(key.previous_until) if key.previous_until and now < key.previous_until else None,
        models=None if key.models is None else sorted(key.models),
        limits=KeyLimits(**dataclasses.asdict(key.limits)),
        used_tokens=used_tokens,
    )


def secret_key(key: KeyObject, text: str) -> SecretKey:
    return SecretKey(**msgspec.structs.asdict(key), key=text)


def _seconds(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp())
