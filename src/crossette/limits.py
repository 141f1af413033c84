"""What a key may still use: buckets that fill evenly, and requests that are open. Pure: the time is an argument.

Times are seconds of one clock that never goes back. Requests and prompts are taken when a request begins, cached and
generated tokens when it ends: a bucket may then be below zero, and the next request waits until it is not.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from crossette.access import Caller, Limits
from crossette.errors import BudgetSpent, Forbidden, RateLimited

Rate = Literal["requests", "prompt_tokens", "cached_tokens", "generated_tokens"]
"""What is counted by the minute: the fields of `Limits` that end in `_per_minute`."""

RATES: tuple[Rate, ...] = ("requests", "prompt_tokens", "cached_tokens", "generated_tokens")

_ENOUGH = 1e-6
"""What may be missing to a whole token: rounding, a thousand times over."""

_MEMORY = 0.2
"""The weight of the newest request in the moving average of how long requests take."""


class Bucket:
    """So many a minute: full at first, filling evenly, below zero after more was taken than was there."""

    def __init__(self, per_minute: int, now: float) -> None:
        self.per_minute = per_minute
        self._level = float(per_minute)
        self._seen = now

    def level(self, now: float) -> float:
        gained = max(0.0, now - self._seen) * self.per_minute / 60
        return min(float(self.per_minute), self._level + gained)

    def take(self, amount: int, now: float) -> None:
        """Take what was used; a negative amount gives back."""
        self._level = self.level(now) - amount
        self._seen = max(now, self._seen)

    def wait_s(self, amount: int, now: float) -> float:
        """Seconds until `amount` is there, or all that the bucket can hold if that is less; inf if it holds nothing."""
        if self.per_minute == 0:
            return math.inf
        missing = min(amount, self.per_minute) - self.level(now)
        return missing * 60 / self.per_minute if missing > _ENOUGH else 0.0


@dataclass(frozen=True, slots=True)
class Allowance:
    """One limit by the minute as it stands."""

    rate: Rate
    per_minute: int
    left: int
    """What could be taken now; 0 where more was taken than there was."""
    full_in_s: float
    """Seconds until all of it is there again, if nothing more is taken."""


class Account:
    """What one key uses."""

    def __init__(self, limits: Limits, now: float) -> None:
        self.limits = limits
        self._buckets = {rate: Bucket(most, now) for rate in RATES if (most := _per_minute(limits, rate)) is not None}
        self._open: set[Lease] = set()
        self._mean_s = 0.0

    def allowances(self, now: float) -> list[Allowance]:
        return [
            Allowance(rate, one.per_minute, max(0, int(one.level(now) + _ENOUGH)), one.wait_s(one.per_minute, now))
            for rate, one in self._buckets.items()
        ]

    def check(self, used_tokens: int, prompt_tokens: int, now: float) -> None:
        """Raise what refuses a request with such a prompt now: RateLimited, BudgetSpent or Forbidden."""
        self._check_budget(used_tokens)
        self._check_open(now)
        self._check_rates(prompt_tokens, now)

    def begin(self, prompt_tokens: int, now: float) -> Lease:
        self._take("requests", 1, now)
        self._take("prompt_tokens", prompt_tokens, now)
        lease = Lease(self, prompt_tokens, now)
        self._open.add(lease)
        return lease

    def _check_budget(self, used_tokens: int) -> None:
        most = self.limits.total_tokens
        if most is None:
            return
        spent = used_tokens + sum(lease.prompt_tokens for lease in self._open)
        if spent >= most:
            raise BudgetSpent(
                f"This key may use {most} tokens in all, and {spent} are used. Ask whoever made the key for more."
            )

    def _check_open(self, now: float) -> None:
        most = self.limits.concurrent_requests
        if most is None or len(self._open) < most:
            return
        if most == 0:
            raise _never("requests at once")
        raise RateLimited(
            f"{len(self._open)} requests of this key are in flight and {most} is the limit. Retry when one has ended.",
            retry_after=self._next_end_s(now),
        )

    def _next_end_s(self, now: float) -> float:
        """Seconds until one of the open requests should end: the mean of those that have, less what the oldest took."""
        oldest = min(lease.begun for lease in self._open)
        return max(1.0, self._mean_s - (now - oldest))

    def _check_rates(self, prompt_tokens: int, now: float) -> None:
        """All limits at once, so that the longest wait is what the client is told."""
        needed = {"prompt_tokens": prompt_tokens}
        waits = {rate: bucket.wait_s(needed.get(rate, 1), now) for rate, bucket in self._buckets.items()}
        rate = max(waits, key=waits.__getitem__, default=None)
        if rate is None or waits[rate] == 0:
            return
        if waits[rate] == math.inf:
            raise _never(f"{_words(rate)} a minute")
        raise RateLimited(self._told(rate, prompt_tokens, waits[rate], now), retry_after=waits[rate])

    def _told(self, rate: Rate, prompt_tokens: int, wait_s: float, now: float) -> str:
        bucket = self._buckets[rate]
        level = math.floor(bucket.level(now))
        left = f"{level} are left" if level >= 0 else f"the last requests used {-level} more than that"
        asked = f"The prompt has {prompt_tokens} tokens. " if rate == "prompt_tokens" and prompt_tokens > 1 else ""
        limit = f"This key's limit is {bucket.per_minute} {_words(rate)} a minute, and {left}."
        return f"{asked}{limit} Retry in {wait_s:.1f} s."

    def _take(self, rate: Rate, amount: int, now: float) -> None:
        if rate in self._buckets:
            self._buckets[rate].take(amount, now)

    def close(self, lease: Lease, cached_tokens: int, generated_tokens: int, now: float) -> None:
        self._open.discard(lease)
        self._take("cached_tokens", cached_tokens, now)
        self._take("generated_tokens", generated_tokens, now)
        seconds = now - lease.begun
        self._mean_s = seconds if self._mean_s == 0 else self._mean_s + _MEMORY * (seconds - self._mean_s)

    def forget(self, lease: Lease, now: float) -> None:
        self._open.discard(lease)
        self._take("prompt_tokens", -lease.prompt_tokens, now)


class Lease:
    """A request that has begun. It is over once, by whichever of its two ends comes first."""

    def __init__(self, account: Account, prompt_tokens: int, begun: float) -> None:
        self.prompt_tokens = prompt_tokens
        self.begun = begun
        self._account: Account | None = account

    def end(self, *, cached_tokens: int, generated_tokens: int, now: float) -> None:
        """Take what it turned out to cost."""
        account, self._account = self._account, None
        if account is not None:
            account.close(self, cached_tokens, generated_tokens, now)

    def cancel(self, now: float) -> None:
        """Give its prompt back: nothing of it was computed."""
        account, self._account = self._account, None
        if account is not None:
            account.forget(self, now)


class Limiter:
    """The accounts of all keys. `used_tokens` says what a key has used so far, by its id."""

    def __init__(self, used_tokens: Callable[[str], int] = lambda key_id: 0) -> None:
        self._used_tokens = used_tokens
        self._accounts: dict[str, Account] = {}

    def account(self, caller: Caller, now: float) -> Account | None:
        """None for a caller without limits. A key whose limits were changed begins anew."""
        if caller.limits == _UNLIMITED:
            self._accounts.pop(caller.id, None)
            return None
        account = self._accounts.get(caller.id)
        if account is None or account.limits != caller.limits:
            account = self._accounts[caller.id] = Account(caller.limits, now)
        return account

    def check(self, caller: Caller, now: float, *, prompt_tokens: int = 1) -> None:
        """Raise RateLimited, BudgetSpent or Forbidden if a request with such a prompt cannot begin now."""
        account = self.account(caller, now)
        if account is not None:
            used = self._used_tokens(caller.id) if caller.limits.total_tokens is not None else 0
            account.check(used, prompt_tokens, now)

    def begin(self, caller: Caller, now: float, *, prompt_tokens: int) -> Lease | None:
        """Begin a request, or raise what `check` raises. None where nothing is counted."""
        self.check(caller, now, prompt_tokens=prompt_tokens)
        account = self.account(caller, now)
        return account.begin(prompt_tokens, now) if account is not None else None


_UNLIMITED = Limits()


def _per_minute(limits: Limits, rate: Rate) -> int | None:
    most: int | None = getattr(limits, f"{rate}_per_minute")
    return most


def _words(rate: Rate) -> str:
    return rate.replace("_", " ")


def _never(what: str) -> Forbidden:
    return Forbidden(f"This key's limit is 0 {what}: it may ask for nothing. Ask whoever made the key.")
