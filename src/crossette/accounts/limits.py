"""What a key may still use: buckets that fill evenly, and requests that are open. Pure: the time is an argument.

Times are seconds of one clock that never goes back. A request is taken when it comes and its prompt when it has been
read. Its cached and generated tokens are taken when it comes as well, as many as those before it had in the mean, and
corrected when it ends: a bucket may be below zero, and the next request waits until it is not. Of the budget a request
sets aside all that it could use, so that it is never overdrawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from crossette.accounts.access import Caller, Limits
from crossette.accounts.token_bucket import ENOUGH, TokenBucket
from crossette.errors import BudgetSpent, Forbidden, RateLimited
from crossette.moving_average import MovingAverage

Rate = Literal["requests", "prompt_tokens", "cached_tokens", "generated_tokens"]
"""What is counted by the minute: the fields of `Limits` that end in `_per_minute`."""

RATES: tuple[Rate, ...] = ("requests", "prompt_tokens", "cached_tokens", "generated_tokens")


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
        self._buckets = {
            rate: TokenBucket(most, now) for rate in RATES if (most := _per_minute(limits, rate)) is not None
        }
        self._open: set[Reservation] = set()
        self._unsettled: set[Reservation] = set()
        """Those that hold a part of the budget: the open ones, and those that the ledger has not noted."""
        self._seconds = MovingAverage()
        self._costs: dict[Rate, MovingAverage] = {"cached_tokens": MovingAverage(), "generated_tokens": MovingAverage()}

    def allowances(self, now: float) -> list[Allowance]:
        return [
            Allowance(rate, one.per_minute, max(0, int(one.level(now) + ENOUGH)), one.wait_s(one.per_minute, now))
            for rate, one in self._buckets.items()
        ]

    def begin(self, used_tokens: int, now: float) -> Reservation:
        """Let a request come in that has not been read: it takes its place. Raises what refuses it."""
        self._check_budget(used_tokens, 1, 0, now)
        self._check_open(now)
        lease = Reservation(self, now)
        self._check_rates({"requests": 1, "prompt_tokens": 1}, now, lease)
        self._take("requests", 1, now)
        lease.deposits = {rate: mean.value for rate, mean in self._costs.items()}
        self._take_all(lease.deposits, now)
        self._open.add(lease)
        self._unsettled.add(lease)
        return lease

    def left(self, used_tokens: int, lease: Reservation) -> int | None:
        """What is left of the budget for this request, if there is one."""
        most = self.limits.total_tokens
        return None if most is None else most - used_tokens - self._set_aside(lease)

    def admit(self, lease: Reservation, prompt_tokens: int, most_generated: int, used_tokens: int, now: float) -> None:
        """Take the prompt of a request that can generate so many tokens. Raises what refuses it."""
        self._check_budget(used_tokens, prompt_tokens, most_generated, now, lease)
        self._check_rates({"requests": 0, "prompt_tokens": prompt_tokens}, now, lease)
        self._take("prompt_tokens", prompt_tokens, now)
        lease.prompt_tokens = prompt_tokens
        lease.set_aside = prompt_tokens + most_generated

    def _set_aside(self, but: Reservation | None) -> int:
        return sum(lease.set_aside for lease in self._unsettled if lease is not but)

    def _check_budget(
        self, used: int, prompt_tokens: int, most_generated: int, now: float, lease: Reservation | None = None
    ) -> None:
        most = self.limits.total_tokens
        if most is None:
            return
        budget = f"This key may use {most} tokens in all, and {used} are used"
        if used >= most:
            raise BudgetSpent(f"{budget}. Ask whoever made the key for more.")
        wanted, set_aside = prompt_tokens + most_generated, self._set_aside(lease)
        if wanted > most - used:
            raise BudgetSpent(
                f"{budget}. The prompt has {prompt_tokens} tokens and the answer may have {most_generated}, "
                f"which is {wanted - most + used} too many. Send a smaller max_tokens, or ask whoever made the key."
            )
        if wanted > most - used - set_aside:
            raise RateLimited(
                f"{budget}, and {set_aside} are set aside for requests that run. Retry when one has ended.",
                retry_after=self._next_end_s(now),
            )

    def _check_open(self, now: float) -> None:
        most, num_open = self.limits.concurrent_requests, len(self._open)
        if most is None or num_open < most:
            return
        if most == 0:
            raise _never("requests at once")
        are = "1 request of this key is" if num_open == 1 else f"{num_open} requests of this key are"
        raise RateLimited(
            f"{are} in flight and {most} is the limit. Retry when one has ended.", retry_after=self._next_end_s(now)
        )

    def _next_end_s(self, now: float) -> float:
        """Seconds until one of the open requests should end: the mean of those that have, less what the oldest took."""
        oldest = min((lease.begun for lease in self._open), default=now)
        return max(1.0, self._seconds.value - (now - oldest))

    def _check_rates(self, needed: Mapping[Rate, int], now: float, lease: Reservation) -> None:
        """All limits at once, so that the longest wait is what the client is told. A request's deposit is its own."""
        waits = {
            rate: bucket.wait_s(needed.get(rate, 1) - lease.deposits.get(rate, 0), now)
            for rate, bucket in self._buckets.items()
        }
        rate = max(waits, key=waits.__getitem__, default=None)
        if rate is None or waits[rate] == 0:
            return
        if waits[rate] == math.inf:
            raise _never(f"{_words(rate)} a minute")
        told = self._told(rate, needed["prompt_tokens"], waits[rate], lease, now)
        raise RateLimited(told, retry_after=waits[rate])

    def _told(self, rate: Rate, prompt_tokens: int, wait_s: float, lease: Reservation, now: float) -> str:
        bucket = self._buckets[rate]
        level = math.floor(bucket.level(now) + lease.deposits.get(rate, 0) + ENOUGH)
        is_guess = any(other.deposits.get(rate) for other in self._open if other is not lease)
        used = "used, or may use before they end," if is_guess else "used"
        left = f"{level} are left" if level >= 0 else f"the last requests {used} {-level} more than that"
        asked = f"The prompt has {prompt_tokens} tokens. " if rate == "prompt_tokens" and prompt_tokens > 1 else ""
        limit = f"This key's limit is {bucket.per_minute} {_words(rate)} a minute, and {left}."
        return f"{asked}{limit} Retry in {wait_s:.1f} s."

    def _take(self, rate: Rate, amount: float, now: float) -> None:
        if rate in self._buckets:
            self._buckets[rate].take(amount, now)

    def _take_all(self, amounts: Mapping[Rate, float], now: float) -> None:
        for rate, amount in amounts.items():
            self._take(rate, amount, now)

    def close(
        self, lease: Reservation, prompt_tokens: int | None, cached_tokens: int, generated_tokens: int, now: float
    ) -> None:
        self._open.discard(lease)
        if prompt_tokens is not None:
            self._take("prompt_tokens", prompt_tokens - lease.prompt_tokens, now)
            lease.prompt_tokens = prompt_tokens
        costs: dict[Rate, int] = {"cached_tokens": cached_tokens, "generated_tokens": generated_tokens}
        for rate, amount in costs.items():
            self._take(rate, amount - lease.deposits[rate], now)
            self._costs[rate].add(amount)
        self._seconds.add(now - lease.begun)
        lease.set_aside = lease.prompt_tokens + generated_tokens

    def forget(self, lease: Reservation, now: float, *, took_request: bool) -> None:
        self._open.discard(lease)
        self._take("prompt_tokens", -lease.prompt_tokens, now)
        self._take("requests", 0 if took_request else -1, now)
        self._take_all({rate: -amount for rate, amount in lease.deposits.items()}, now)
        lease.set_aside = 0

    def settle(self, lease: Reservation) -> None:
        self._unsettled.discard(lease)


class Reservation:
    """A request that has come in. It is over once, by whichever of its ends comes first."""

    def __init__(self, account: Account, begun: float) -> None:
        self.begun = begun
        self.prompt_tokens = 0
        self.deposits: Mapping[Rate, float] = {}
        """What was taken of what it may cost, before that is known."""
        self.set_aside = 0
        """Tokens of the budget that nobody else may use."""
        self._account = account
        self._is_over = False

    def admit(self, prompt_tokens: int, most_generated: int, used_tokens: int, now: float) -> None:
        """Take its prompt, or raise RateLimited or BudgetSpent."""
        self._account.admit(self, prompt_tokens, most_generated, used_tokens, now)

    def left(self, used_tokens: int) -> int | None:
        """Tokens that it may use of the budget; None where there is none."""
        return self._account.left(used_tokens, self)

    def end(self, *, cached_tokens: int, generated_tokens: int, now: float, prompt_tokens: int | None = None) -> None:
        """Take what it turned out to cost. `prompt_tokens`: of its prompts, the computed ones, if not all were."""
        if not self._is_over:
            self._is_over = True
            self._account.close(self, prompt_tokens, cached_tokens, generated_tokens, now)

    def cancel(self, now: float, *, took_request: bool = True) -> None:
        """Give its prompt back: nothing of it was computed. And the request, if it was refused by a limit."""
        if not self._is_over:
            self._is_over = True
            self._account.forget(self, now, took_request=took_request)

    def settle(self) -> None:
        """Hold nothing of the budget any more: what was used is known to whoever says `used_tokens`."""
        self._account.settle(self)


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

    def used_tokens(self, caller: Caller) -> int:
        """What counts against the budget of a caller, if it has one."""
        return self._used_tokens(caller.id) if caller.limits.total_tokens is not None else 0

    def begin(self, caller: Caller, now: float) -> Reservation | None:
        """Let a request come in, or raise RateLimited, BudgetSpent or Forbidden. None where nothing is counted."""
        account = self.account(caller, now)
        return account.begin(self.used_tokens(caller), now) if account is not None else None


_UNLIMITED = Limits()


def _per_minute(limits: Limits, rate: Rate) -> int | None:
    most: int | None = getattr(limits, f"{rate}_per_minute")
    return most


def _words(rate: Rate) -> str:
    return rate.replace("_", " ")


def _never(what: str) -> Forbidden:
    return Forbidden(f"This key's limit is 0 {what}: it may ask for nothing. Ask whoever made the key.")
