"""The limits of keys while the database is away: each replica applies its part of them, from the levels last known."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Callable, Sequence

from crossette.accounts.access import Caller, Limits
from crossette.accounts.key_accounts import Hold, LocalAccounts
from crossette.accounts.limits import Limiter
from crossette.accounts.standing import RATES, Allowance, Rate, Standing, per_minute
from crossette.errors import BudgetSpent, RateLimited

_RETRY_S = 2.0


class OutageAccounts:
    """Accounts in memory, for one time without the database among `num_replicas`."""

    def __init__(self, num_replicas: int, now: Callable[[], float] = time.monotonic) -> None:
        self._num_replicas = num_replicas
        self._now = now
        self._used: Counter[str] = Counter()
        self._parts: dict[str, Caller] = {}
        self._limiter = Limiter(lambda key_id: self._used[key_id])
        self._accounts = LocalAccounts(self._limiter, now)

    async def begin(self, caller: Caller, known: Standing | None) -> Hold:
        """Begin a request of a key with limits. `known` is its last state; None for a key that was not seen here.

        Raises as `KeyAccounts.begin`, but never BudgetSpent: others may have left more.
        """
        part = self._part_of(caller, known)
        try:
            hold = await self._accounts.begin(part)
        except BudgetSpent as error:
            raise unreadable() from error
        assert hold is not None  # it has limits
        return hold

    def allowances(self, caller: Caller) -> Sequence[Allowance]:
        part = self._parts.get(caller.id)
        return self._accounts.allowances(part) if part is not None else []

    def note(self, key_id: str, tokens: int) -> None:
        """Count the tokens of a request that ended for the budget of its key."""
        self._used[key_id] += tokens

    def _part_of(self, caller: Caller, known: Standing | None) -> Caller:
        part = self._parts.get(caller.id)
        if part is None:
            part = dataclasses.replace(caller, limits=_divided(caller.limits, known, self._num_replicas))
            limiter = self._limiter.key_limiter(part, self._now())
            if limiter is not None and known is not None:
                limiter.fill(shares(known), self._now())
            self._parts[caller.id] = part
        return part


def unreadable() -> RateLimited:
    """The error for a budget of which no more can be given out while the database is away."""
    return RateLimited("The budget of this key cannot be read now. Retry in a moment.", retry_after=_RETRY_S)


def shares(standing: Standing) -> dict[Rate, float]:
    """How full each limit per minute is."""
    return {
        rate: level / most for rate, level in standing.levels.items() if (most := per_minute(standing.limits, rate))
    }


def _divided(limits: Limits, known: Standing | None, parts: int) -> Limits:
    def part(most: int | None) -> int | None:
        return most if most is None else min(most, max(1, most // parts))

    budget = None
    if limits.total_tokens is not None:
        budget = max(0, (known.remaining or 0) // parts) if known is not None else 0
    rates = {f"{rate}_per_minute": part(per_minute(limits, rate)) for rate in RATES}
    return Limits(**rates, concurrent_requests=part(limits.concurrent_requests), total_tokens=budget)
