"""The limits of an engine's queue: the estimated wait, the number of waiting sequences, and `retry-after`."""

from __future__ import annotations

import math
from dataclasses import dataclass

from crossette.engine import WaitEstimate
from crossette.errors import Overloaded
from crossette.settings import Count, Seconds, setting

_UNKNOWN_S = 1.0
"""`retry-after` in seconds while no throughput is measured."""

_MAX_SPREAD_S = 60.0
"""Maximum seconds that earlier rejections add to `retry-after`."""


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """Limits of the queue of an engine."""

    max_wait: Seconds = setting(
        60.0,
        "Reject a request with 503 if it is expected to wait longer than this many seconds in the queue, or waits"
        " longer until its model is loaded.",
    )
    max_waiting: Count = setting(
        512, "Reject a request with 503 if it cannot start at once and this many choices wait in the queue already."
    )


class RetrySchedule:
    """Spreads the `retry-after` times of rejected requests, so that their retries do not come all at once."""

    def __init__(self) -> None:
        self._last = -math.inf

    def after_s(self, wait_s: float, slot_s: float, now: float) -> float:
        """Seconds until the next retry: `wait_s`, or `slot_s` after the last scheduled retry if that is later.

        At most a minute more than `wait_s`: otherwise clients that retry without waiting would delay all others.
        """
        self._last = min(max(now + wait_s, self._last + slot_s), now + wait_s + _MAX_SPREAD_S)
        return self._last - now


def check_queue(wait: WaitEstimate, settings: QueueSettings, retries: RetrySchedule, now: float) -> None:
    """Raise Overloaded if a request would wait too long, with `retry_after`.

    A request that can start at once is admitted, whatever the estimate. `now` is a monotonic clock, in seconds.
    """
    if wait.has_slot:
        return
    if wait.waiting >= settings.max_waiting:
        excess = wait.waiting - settings.max_waiting + 1
        raise Overloaded(
            f"{wait.waiting} sequences are waiting, and the limit is {settings.max_waiting}. Retry later.",
            hint="--max-waiting is the limit",
            retry_after=retries.after_s(excess * wait.slot_s or _UNKNOWN_S, wait.slot_s, now),
        )
    if wait.seconds > settings.max_wait:
        raise Overloaded(
            f"The estimated wait is {wait.seconds:.0f} s, and the limit is {settings.max_wait:.0f} s. Retry later.",
            hint="--max-wait is the limit",
            retry_after=retries.after_s(wait.seconds - settings.max_wait, wait.slot_s, now),
        )
