"""Who asks, and what they may. The API asks `Access`; who keeps the keys is not its business."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Limits:
    """What one key may use; None for no bound."""

    requests_per_minute: int | None = None
    prompt_tokens_per_minute: int | None = None
    """All tokens of prompts, also those found in the prefix cache."""
    cached_tokens_per_minute: int | None = None
    """Those found in the prefix cache."""
    generated_tokens_per_minute: int | None = None
    concurrent_requests: int | None = None
    total_tokens: int | None = None
    """Of prompts and answers, for as long as the key lives."""


UNLIMITED = Limits()


@dataclass(frozen=True, slots=True)
class Caller:
    """Who a request comes from. Requests without a key come from `ANONYMOUS`."""

    id: str
    """What the ledger, the log and the engine's fairness know the key by; never the key itself."""
    name: str
    is_admin: bool = False
    """Whether it may see what others used."""
    models: frozenset[str] | None = None
    """The models it may ask for; None for all."""
    limits: Limits = UNLIMITED


ANONYMOUS = Caller("", "anonymous", is_admin=True)
"""Everybody, where no keys were made: a server of one's own."""


class Access(Protocol):
    """May this key come in?"""

    def caller(self, key: str | None) -> Caller:
        """Whose key it is; `ANONYMOUS` where no keys were made. A plain call that never waits.

        Raises Unauthorized for a key that is missing, not known, revoked or expired.
        """


class Open:
    """Lets everybody in: for an API that is served without a store."""

    def caller(self, key: str | None) -> Caller:
        return ANONYMOUS
