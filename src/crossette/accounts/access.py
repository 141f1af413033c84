"""Callers, their permissions and limits, and the protocol `Authenticator`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a key; None is unlimited."""

    requests_per_minute: int | None = None
    prompt_tokens_per_minute: int | None = None
    """All prompt tokens, including cached ones."""
    cached_tokens_per_minute: int | None = None
    """Prompt tokens found in the prefix cache."""
    generated_tokens_per_minute: int | None = None
    concurrent_requests: int | None = None
    total_tokens: int | None = None
    """Prompt and completion tokens over the lifetime of the key."""


UNLIMITED = Limits()


@dataclass(frozen=True, slots=True)
class Caller:
    """The caller of a request. Requests without a key have the caller `ANONYMOUS`."""

    id: str
    """The key's id in the ledger, the log and the engine's fair scheduling; never the key itself."""
    name: str
    is_admin: bool = False
    """Whether it may read the usage of all keys."""
    models: frozenset[str] | None = None
    """The models it may use; None for all."""
    limits: Limits = UNLIMITED

    @property
    def label(self) -> str:
        """Who it is, for the log."""
        return f"{self.id or '-'} ({self.name})"


ANONYMOUS = Caller("", "anonymous", is_admin=True)
"""The caller of all requests while no keys exist."""


class Authenticator(Protocol):
    """Authenticates API keys."""

    def caller(self, key: str | None) -> Caller:
        """Return the caller of a key; `ANONYMOUS` while no keys exist. Never blocks.

        Raises Unauthorized for a key that is missing, unknown, revoked or expired.
        """


class NoAuthentication:
    """Accepts every request as `ANONYMOUS`, for an API without a key database."""

    def caller(self, key: str | None) -> Caller:
        return ANONYMOUS
