"""Rate limits, concurrency limits and budgets of keys. Pure: the time is an argument.

Times are seconds of a monotonic clock. A request counts when it arrives, its prompt once it has been read. Its cached
and generated tokens are estimated by the mean of earlier requests when it arrives, and corrected when it ends: a
bucket may become negative, and later requests wait until it is not. A request reserves the budget for the most tokens
that it could use, so that the budget is never overdrawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from crossette.accounts.access import Caller, Limits
from crossette.accounts.token_bucket import TOLERANCE, TokenBucket
from crossette.errors import BudgetSpent, Forbidden, RateLimited
from crossette.moving_average import MovingAverage

Rate = Literal["requests", "prompt_tokens", "cached_tokens", "generated_tokens"]
"""The rate limits: the fields of `Limits` that end in `_per_minute`."""

RATES: tuple[Rate, ...] = ("requests", "prompt_tokens", "cached_tokens", "generated_tokens")


@dataclass(frozen=True, slots=True)
class Allowance:
    """The state of one rate limit."""

    rate: Rate
    per_minute: int
    remaining: int
    """What is available now; 0 after an overdraft."""
    full_in_s: float
    """Seconds until the limit is fully available again."""


class KeyLimiter:
    """The limits and current usage of one key."""

    def __init__(self, limits: Limits, now: float) -> None:
        self.limits = limits
        self._buckets = {
            rate: TokenBucket(most, now) for rate in RATES if (most := _per_minute(limits, rate)) is not None
        }
        self._open: set[Reservation] = set()
        self._unsettled: set[Reservation] = set()
        """Reservations that hold a part of the budget: open ones, and those not yet recorded in the ledger."""
        self._seconds = MovingAverage()
        self._costs: dict[Rate, MovingAverage] = {"cached_tokens": MovingAverage(), "generated_tokens": MovingAverage()}

    def change(self, limits: Limits, now: float) -> None:
        """Change the limits. Running requests keep their reservations, and a rate keeps its level in proportion."""
        if limits == self.limits:
            return
        self.limits = limits
        before, self._buckets = self._buckets, {}
        for rate in RATES:
            if (most := _per_minute(limits, rate)) is not None:
                old = before.get(rate)
                self._buckets[rate] = old.resized(most, now) if old is not None else TokenBucket(most, now)

    def allowances(self, now: float) -> list[Allowance]:
        return [
            Allowance(rate, b.per_minute, max(0, int(b.level(now) + TOLERANCE)), b.wait_s(b.per_minute, now))
            for rate, b in self._buckets.items()
        ]

    def background_wait_s(self, now: float) -> float:
        """Seconds until a background request may begin: one that leaves half of each limit to other requests.

        0 if a limit is 0, as waiting would not help.
        """
        waits = [bucket.wait_s(max(1.0, bucket.per_minute / 2), now) for bucket in self._buckets.values()]
        most = self.limits.concurrent_requests
        if most and len(self._open) >= max(1, most // 2):
            waits.append(self._next_end_s(now))
        return max((wait for wait in waits if wait != math.inf), default=0.0)

    def begin(self, used_tokens: int, now: float) -> Reservation:
        """Reserve a request before its body is read. Raises RateLimited, BudgetSpent or Forbidden."""
        self._check_budget(used_tokens, 1, 0, now)
        self._check_concurrency(now)
        reservation = Reservation(self, now)
        self._check_rates({"requests": 1, "prompt_tokens": 1}, now, reservation)
        self._take("requests", 1, now)
        reservation.deposits = {rate: mean.value for rate, mean in self._costs.items()}
        self._take_all(reservation.deposits, now)
        self._open.add(reservation)
        self._unsettled.add(reservation)
        return reservation

    def remaining(self, used_tokens: int, reservation: Reservation) -> int | None:
        """The remaining budget for this request; None without a budget."""
        most = self.limits.total_tokens
        return None if most is None else most - used_tokens - self._reserved(reservation)

    def admit(
        self, reservation: Reservation, prompt_tokens: int, most_generated: int, used_tokens: int, now: float
    ) -> None:
        """Take the prompt of a request that can generate up to `most_generated` tokens. Raises as `begin`."""
        self._check_budget(used_tokens, prompt_tokens, most_generated, now, reservation)
        self._check_rates({"requests": 0, "prompt_tokens": prompt_tokens}, now, reservation)
        self._take("prompt_tokens", prompt_tokens, now)
        reservation.prompt_tokens = prompt_tokens
        reservation.reserved_tokens = prompt_tokens + most_generated

    def _reserved(self, but: Reservation | None) -> int:
        return sum(each.reserved_tokens for each in self._unsettled if each is not but)

    def _check_budget(
        self, used: int, prompt_tokens: int, most_generated: int, now: float, reservation: Reservation | None = None
    ) -> None:
        most = self.limits.total_tokens
        if most is None:
            return
        budget = f"The total budget of this key is {most} tokens, and {used} are used"
        if used >= most:
            raise BudgetSpent(f"{budget}. Ask the administrator for a larger one.")
        needed, reserved = prompt_tokens + most_generated, self._reserved(reservation)
        if needed > most - used:
            raise BudgetSpent(
                f"{budget}. The prompt has {prompt_tokens} tokens and the completion may have {most_generated}, "
                f"which is {needed - most + used} too many. Send a smaller max_tokens, or ask the administrator."
            )
        if needed > most - used - reserved:
            raise RateLimited(
                f"{budget}, and {reserved} are reserved by running requests. Retry when one has finished.",
                retry_after=self._next_end_s(now),
            )

    def _check_concurrency(self, now: float) -> None:
        most, num_open = self.limits.concurrent_requests, len(self._open)
        if most is None or num_open < most:
            return
        if most == 0:
            raise _forbidden("concurrent requests")
        are = "1 request of this key is" if num_open == 1 else f"{num_open} requests of this key are"
        raise RateLimited(
            f"{are} in flight and {most} is the limit. Retry when one has finished.", retry_after=self._next_end_s(now)
        )

    def _next_end_s(self, now: float) -> float:
        """Estimated seconds until an open request ends: the mean duration minus the age of the oldest."""
        oldest = min((each.begun for each in self._open), default=now)
        return max(1.0, self._seconds.value - (now - oldest))

    def _check_rates(self, needed: Mapping[Rate, int], now: float, reservation: Reservation) -> None:
        """Check all rate limits, so that `retry_after` is the longest wait. A request's own deposits do not count."""
        waits = {
            rate: bucket.wait_s(needed.get(rate, 1) - reservation.deposits.get(rate, 0), now)
            for rate, bucket in self._buckets.items()
        }
        rate = max(waits, key=waits.__getitem__, default=None)
        if rate is None or waits[rate] == 0:
            return
        if waits[rate] == math.inf:
            raise _forbidden(f"{_display_name(rate)} per minute")
        message = self._rate_message(rate, needed["prompt_tokens"], waits[rate], reservation, now)
        raise RateLimited(message, retry_after=waits[rate])

    def _rate_message(self, rate: Rate, prompt_tokens: int, wait_s: float, reservation: Reservation, now: float) -> str:
        bucket = self._buckets[rate]
        level = math.floor(bucket.level(now) + reservation.deposits.get(rate, 0) + TOLERANCE)
        is_estimate = any(other.deposits.get(rate) for other in self._open if other is not reservation)
        used = "used, or are expected to use," if is_estimate else "used"
        state = f"{level} remain" if level >= 0 else f"recent requests {used} {-level} more than that"
        prompt = f"The prompt has {prompt_tokens} tokens. " if rate == "prompt_tokens" and prompt_tokens > 1 else ""
        limit = f"This key's limit is {bucket.per_minute} {_display_name(rate)} per minute, and {state}."
        return f"{prompt}{limit} Retry in {wait_s:.1f} s."

    def _take(self, rate: Rate, amount: float, now: float) -> None:
        if rate in self._buckets:
            self._buckets[rate].take(amount, now)

    def _take_all(self, amounts: Mapping[Rate, float], now: float) -> None:
        for rate, amount in amounts.items():
            self._take(rate, amount, now)

    def close(
        self, reservation: Reservation, prompt_tokens: int | None, cached_tokens: int, generated_tokens: int, now: float
    ) -> None:
        self._open.discard(reservation)
        if prompt_tokens is not None:
            self._take("prompt_tokens", prompt_tokens - reservation.prompt_tokens, now)
            reservation.prompt_tokens = prompt_tokens
        costs: dict[Rate, int] = {"cached_tokens": cached_tokens, "generated_tokens": generated_tokens}
        for rate, amount in costs.items():
            self._take(rate, amount - reservation.deposits[rate], now)
            self._costs[rate].add(amount)
        self._seconds.add(now - reservation.begun)
        reservation.reserved_tokens = reservation.prompt_tokens + generated_tokens

    def cancel(self, reservation: Reservation, now: float, *, took_request: bool) -> None:
        self._open.discard(reservation)
        self._take("prompt_tokens", -reservation.prompt_tokens, now)
        self._take("requests", 0 if took_request else -1, now)
        self._take_all({rate: -amount for rate, amount in reservation.deposits.items()}, now)
        reservation.reserved_tokens = 0

    def settle(self, reservation: Reservation) -> None:
        self._unsettled.discard(reservation)


class Reservation:
    """The limits that a request holds. Ends once: later calls of `end` and `cancel` have no effect."""

    def __init__(self, limiter: KeyLimiter, begun: float) -> None:
        self.begun = begun
        self.prompt_tokens = 0
        self.deposits: Mapping[Rate, float] = {}
        """The estimated tokens that were taken in advance."""
        self.reserved_tokens = 0
        """Tokens of the budget that other requests cannot use."""
        self._limiter = limiter
        self._is_ended = False

    def admit(self, prompt_tokens: int, most_generated: int, used_tokens: int, now: float) -> None:
        """Take the prompt. Raises RateLimited or BudgetSpent."""
        self._limiter.admit(self, prompt_tokens, most_generated, used_tokens, now)

    def remaining(self, used_tokens: int) -> int | None:
        """The remaining budget in tokens for this request; None without a budget."""
        return self._limiter.remaining(used_tokens, self)

    def end(self, *, cached_tokens: int, generated_tokens: int, now: float, prompt_tokens: int | None = None) -> None:
        """Take the actual usage. `prompt_tokens` are those of started prompts, if not all were started."""
        if not self._is_ended:
            self._is_ended = True
            self._limiter.close(self, prompt_tokens, cached_tokens, generated_tokens, now)

    def cancel(self, now: float, *, took_request: bool = True) -> None:
        """Give the prompt back, as nothing was computed; unless `took_request`, the request too."""
        if not self._is_ended:
            self._is_ended = True
            self._limiter.cancel(self, now, took_request=took_request)

    def settle(self) -> None:
        """Release the budget: the usage is now part of `used_tokens`."""
        self._limiter.settle(self)


class Limiter:
    """The limiters of all keys. `used_tokens` returns the total usage of a key id."""

    def __init__(self, used_tokens: Callable[[str], int] = lambda key_id: 0) -> None:
        self._used_tokens = used_tokens
        self._limiters: dict[str, KeyLimiter] = {}

    def key_limiter(self, caller: Caller, now: float) -> KeyLimiter | None:
        """The limiter of the caller's key; None without limits."""
        if caller.limits == _UNLIMITED:
            return None
        if caller.id not in self._limiters:
            self._limiters[caller.id] = KeyLimiter(caller.limits, now)
        return self._limiters[caller.id]

    def used_tokens(self, caller: Caller) -> int:
        """The usage that counts against the budget of the caller's key; 0 without a budget."""
        limiter = self._limiters.get(caller.id)
        limits = caller.limits if limiter is None else limiter.limits  # newer than those of a running request
        return self._used_tokens(caller.id) if limits.total_tokens is not None else 0

    def begin(self, caller: Caller, now: float) -> Reservation | None:
        """Reserve a request. Raises RateLimited, BudgetSpent or Forbidden. Returns None for a key without limits.

        A new request has the newest limits of its key: they apply from then on, and to running requests as well.
        """
        limiter = self.key_limiter(caller, now)
        if limiter is None:
            return None
        limiter.change(caller.limits, now)
        return limiter.begin(self.used_tokens(caller), now)


_UNLIMITED = Limits()


def _per_minute(limits: Limits, rate: Rate) -> int | None:
    most: int | None = getattr(limits, f"{rate}_per_minute")
    return most


def _display_name(rate: Rate) -> str:
    return rate.replace("_", " ")


def _forbidden(what: str) -> Forbidden:
    return Forbidden(f"This key's limit is 0 {what}, so it cannot send requests. Ask the administrator.")
