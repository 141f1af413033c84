"""Rate limits, concurrency limits and budgets of keys. Pure: the time is an argument.

Times are seconds of a monotonic clock. A request counts when it arrives, its prompt once it has been read. Its cached
and generated tokens are estimated by the mean of earlier requests when it arrives, and corrected when it ends: a
bucket may become negative, and later requests wait until it is not. A request reserves the budget for the most tokens
that it could use, so that the budget is never overdrawn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from crossette.accounts.access import UNLIMITED, Caller, Limits
from crossette.accounts.standing import ESTIMATED, RATES, Rate, Standing, per_minute
from crossette.accounts.token_bucket import TokenBucket
from crossette.moving_average import MovingAverage


class KeyLimiter:
    """The limits and current usage of one key."""

    def __init__(self, limits: Limits, now: float) -> None:
        self.limits = limits
        self._buckets = {
            rate: TokenBucket(most, now) for rate in RATES if (most := per_minute(limits, rate)) is not None
        }
        self._open: set[Reservation] = set()
        self._unsettled: set[Reservation] = set()
        """Reservations that hold a part of the budget: open ones, and those not yet recorded in the ledger."""
        self._seconds = MovingAverage()
        self._costs: dict[Rate, MovingAverage] = {rate: MovingAverage() for rate in ESTIMATED}

    def change(self, limits: Limits, now: float) -> None:
        """Change the limits. Running requests keep their reservations, and a rate keeps its level in proportion."""
        if limits == self.limits:
            return
        self.limits = limits
        before, self._buckets = self._buckets, {}
        for rate in RATES:
            if (most := per_minute(limits, rate)) is not None:
                old = before.get(rate)
                self._buckets[rate] = old.resized(most, now) if old is not None else TokenBucket(most, now)

    def fill(self, shares: Mapping[Rate, float], now: float) -> None:
        """Set what is left of the rate limits, as shares of each."""
        for rate, share in shares.items():
            if (bucket := self._buckets.get(rate)) is not None:
                bucket.take(bucket.level(now) - share * bucket.per_minute, now)

    def standing(self, used_tokens: int, now: float, but: Reservation | None = None) -> Standing:
        """What is used now, without what `but` holds of the budget."""
        return Standing(
            self.limits,
            {rate: bucket.level(now) for rate, bucket in self._buckets.items()},
            used_tokens,
            self._reserved_tokens(but),
            len(self._open),
            self._next_end_s(now),
            any(any(other.deposits.values()) for other in self._open if other is not but),
        )

    def remaining(self, used_tokens: int, but: Reservation) -> int | None:
        """The remaining budget in tokens, without what `but` holds of it; None without a budget."""
        most = self.limits.total_tokens
        return None if most is None else most - used_tokens - self._reserved_tokens(but)

    def _reserved_tokens(self, but: Reservation | None) -> int:
        return sum([each.reserved_tokens for each in self._unsettled if each is not but])

    def begin(self, used_tokens: int, now: float) -> Reservation:
        """Reserve a request before its body is read. Raises RateLimited, BudgetSpent or Forbidden."""
        self.standing(used_tokens, now).check_begin()
        reservation = Reservation(self, now)
        self._take("requests", 1, now)
        reservation.deposits = {rate: mean.value for rate, mean in self._costs.items()}
        self._take_all(reservation.deposits, now)
        self._open.add(reservation)
        self._unsettled.add(reservation)
        return reservation

    def admit(
        self, reservation: Reservation, prompt_tokens: int, most_generated: int, used_tokens: int, now: float
    ) -> None:
        """Take the prompt of a request that can generate up to `most_generated` tokens. Raises as `begin`."""
        standing = self.standing(used_tokens, now, reservation)
        standing.check_prompt(prompt_tokens, most_generated, reservation.deposits)
        self._take("prompt_tokens", prompt_tokens, now)
        reservation.prompt_tokens = prompt_tokens
        reservation.reserved_tokens = prompt_tokens + most_generated

    def _next_end_s(self, now: float) -> float:
        """Estimated seconds until an open request ends: the mean duration minus the age of the oldest."""
        oldest = min([each.begun for each in self._open], default=now)
        return max(1.0, self._seconds.value - (now - oldest))

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
        if caller.limits == UNLIMITED:
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
