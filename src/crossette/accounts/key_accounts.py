"""The protocol of what keys have used of their limits, and the implementation in memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol

from crossette.accounts.access import Caller
from crossette.accounts.limits import Limiter, Reservation
from crossette.accounts.standing import Allowance


class Hold(Protocol):
    """What one request holds of the limits of its key. Ends once: later calls of `end` and `cancel` have no effect."""

    async def admit(self, prompt_tokens: int, most_generated: int) -> None:
        """Take the prompt of a request that can generate up to `most_generated` tokens.

        Raises RateLimited or BudgetSpent, and then takes nothing.
        """

    def remaining(self) -> int | None:
        """The remaining budget in tokens for this request; None without a budget."""

    def end(self, *, cached_tokens: int, generated_tokens: int, prompt_tokens: int | None = None) -> None:
        """Take the actual usage. `prompt_tokens` are those of started prompts, if not all were started."""

    def cancel(self, *, took_request: bool = True) -> None:
        """Give the prompt back, as nothing was computed; unless `took_request`, the request too."""

    def settle(self) -> None:
        """Release the budget: the ledger has the usage now."""


class KeyAccounts(Protocol):
    """What all keys have used of their limits."""

    async def begin(self, caller: Caller) -> Hold | None:
        """Begin a request before its body is read. None for a key without limits.

        A new request has the newest limits of its key. Raises RateLimited, BudgetSpent or Forbidden.
        """

    def allowances(self, caller: Caller) -> Sequence[Allowance]:
        """The state of the key's limits per minute."""

    def background_wait_s(self, caller: Caller) -> float:
        """Seconds until a background request may begin: one that leaves half of each limit to other requests."""


class LocalAccounts:
    """Implements `KeyAccounts` for one process. It never waits. `now` is a monotonic clock, in seconds."""

    def __init__(self, limiter: Limiter | None = None, now: Callable[[], float] = time.monotonic) -> None:
        self._limiter = limiter or Limiter()
        self._now = now

    async def begin(self, caller: Caller) -> Hold | None:
        reservation = self._limiter.begin(caller, self._now())
        return None if reservation is None else LocalHold(reservation, self._limiter, caller, self._now)

    def allowances(self, caller: Caller) -> Sequence[Allowance]:
        account = self._limiter.key_limiter(caller, self._now())
        return account.standing(0, self._now()).allowances() if account is not None else []

    def background_wait_s(self, caller: Caller) -> float:
        account = self._limiter.key_limiter(caller, self._now())
        return account.standing(0, self._now()).background_wait_s() if account is not None else 0.0


class LocalHold:
    """Implements `Hold`."""

    def __init__(self, reservation: Reservation, limiter: Limiter, caller: Caller, now: Callable[[], float]) -> None:
        self._reservation = reservation
        self._limiter = limiter
        self._caller = caller
        self._now = now

    async def admit(self, prompt_tokens: int, most_generated: int) -> None:
        used = self._limiter.used_tokens(self._caller)
        self._reservation.admit(prompt_tokens, most_generated, used, self._now())

    def remaining(self) -> int | None:
        return self._reservation.remaining(self._limiter.used_tokens(self._caller))

    def end(self, *, cached_tokens: int, generated_tokens: int, prompt_tokens: int | None = None) -> None:
        self._reservation.end(
            cached_tokens=cached_tokens,
            generated_tokens=generated_tokens,
            prompt_tokens=prompt_tokens,
            now=self._now(),
        )

    def cancel(self, *, took_request: bool = True) -> None:
        self._reservation.cancel(self._now(), took_request=took_request)

    def settle(self) -> None:
        self._reservation.settle()
