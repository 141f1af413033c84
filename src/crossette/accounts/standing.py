"""What a key has used of its limits at one moment, and whether that leaves room for a request. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from crossette.accounts.access import Limits
from crossette.accounts.token_bucket import TOLERANCE, wait_s
from crossette.errors import BudgetSpent, Forbidden, RateLimited

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


@dataclass(frozen=True, slots=True)
class Standing:
    """What the requests of a key use, except the one that is decided on."""

    limits: Limits
    levels: Mapping[Rate, float]
    """What is left of each limit per minute; negative in debt. Rates without a limit are missing."""
    used_tokens: int = 0
    """The usage that counts against the budget."""
    reserved_tokens: int = 0
    """Tokens of the budget that other requests hold."""
    num_open: int = 0
    next_end_s: float = 1.0
    """Estimated seconds until an open request ends."""
    has_estimates: bool = False
    """Whether levels include what open requests are expected to cost."""

    def allowances(self) -> list[Allowance]:
        return [
            Allowance(rate, most, max(0, int(level + TOLERANCE)), wait_s(most, level, most))
            for rate, level in self.levels.items()
            if (most := per_minute(self.limits, rate)) is not None
        ]

    def background_wait_s(self) -> float:
        """Seconds until a background request may begin: one that leaves half of each limit to other requests.

        0 if a limit is 0, as waiting would not help.
        """
        sizes = {rate: per_minute(self.limits, rate) or 0 for rate in self.levels}
        waits = [wait_s(max(1.0, sizes[rate] / 2), level, sizes[rate]) for rate, level in self.levels.items()]
        most = self.limits.concurrent_requests
        if most and self.num_open >= max(1, most // 2):
            waits.append(self.next_end_s)
        return max((wait for wait in waits if wait != math.inf), default=0.0)

    @property
    def remaining(self) -> int | None:
        """The remaining budget; None without a budget."""
        most = self.limits.total_tokens
        return None if most is None else most - self.used_tokens - self.reserved_tokens

    def check_begin(self) -> None:
        """Whether another request may begin. Raises RateLimited, BudgetSpent or Forbidden."""
        self._check_budget(1, 0)
        self._check_concurrency()
        self._check_rates({"requests": 1, "prompt_tokens": 1}, {})

    def check_prompt(self, prompt_tokens: int, most_generated: int, deposits: Mapping[Rate, float]) -> None:
        """Whether a request that has begun may use so many tokens. `deposits` are its own. Raises as `check_begin`."""
        self._check_budget(prompt_tokens, most_generated)
        self._check_rates({"requests": 0, "prompt_tokens": prompt_tokens}, deposits)

    def _check_budget(self, prompt_tokens: int, most_generated: int) -> None:
        most, used = self.limits.total_tokens, self.used_tokens
        if most is None:
            return
        budget = f"The total budget of this key is {most} tokens, and {used} are used"
        if used >= most:
            raise BudgetSpent(f"{budget}. Ask the administrator for a larger one.")
        needed, reserved = prompt_tokens + most_generated, self.reserved_tokens
        if needed > most - used:
            raise BudgetSpent(
                f"{budget}. The prompt has {prompt_tokens} tokens and the completion may have {most_generated}, "
                f"which is {needed - most + used} too many. Send a smaller max_tokens, or ask the administrator."
            )
        if needed > most - used - reserved:
            raise RateLimited(
                f"{budget}, and {reserved} are reserved by running requests. Retry when one has finished.",
                retry_after=self.next_end_s,
            )

    def _check_concurrency(self) -> None:
        most = self.limits.concurrent_requests
        if most is None or self.num_open < most:
            return
        if most == 0:
            raise _forbidden("concurrent requests")
        are = "1 request of this key is" if self.num_open == 1 else f"{self.num_open} requests of this key are"
        raise RateLimited(
            f"{are} in flight and {most} is the limit. Retry when one has finished.", retry_after=self.next_end_s
        )

    def _check_rates(self, needed: Mapping[Rate, int], deposits: Mapping[Rate, float]) -> None:
        """Check all rate limits, so that `retry_after` is the longest wait. A request's own deposits do not count."""
        waits = {
            rate: wait_s(needed.get(rate, 1) - deposits.get(rate, 0), level, per_minute(self.limits, rate) or 0)
            for rate, level in self.levels.items()
        }
        rate = max(waits, key=waits.__getitem__, default=None)
        if rate is None or waits[rate] == 0:
            return
        if waits[rate] == math.inf:
            raise _forbidden(f"{_display_name(rate)} per minute")
        message = self._rate_message(rate, needed["prompt_tokens"], waits[rate], deposits.get(rate, 0))
        raise RateLimited(message, retry_after=waits[rate])

    def _rate_message(self, rate: Rate, prompt_tokens: int, wait: float, deposit: float) -> str:
        level = math.floor(self.levels[rate] + deposit + TOLERANCE)
        is_estimate = self.has_estimates and rate in ESTIMATED
        used = "used, or are expected to use," if is_estimate else "used"
        state = f"{level} remain" if level >= 0 else f"recent requests {used} {-level} more than that"
        prompt = f"The prompt has {prompt_tokens} tokens. " if rate == "prompt_tokens" and prompt_tokens > 1 else ""
        most = per_minute(self.limits, rate)
        return (
            f"{prompt}This key's limit is {most} {_display_name(rate)} per minute, and {state}. Retry in {wait:.1f} s."
        )


ESTIMATED: tuple[Rate, ...] = ("cached_tokens", "generated_tokens")
"""The rates of which a request takes a deposit, since its cost is not known when it begins."""


def per_minute(limits: Limits, rate: Rate) -> int | None:
    most: int | None = getattr(limits, f"{rate}_per_minute")
    return most


def _display_name(rate: Rate) -> str:
    return rate.replace("_", " ")


def _forbidden(what: str) -> Forbidden:
    return Forbidden(f"This key's limit is 0 {what}, so it cannot send requests. Ask the administrator.")
