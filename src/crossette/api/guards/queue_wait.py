"""Whether a request would wait too long for its turn to be let in."""

from __future__ import annotations

import math
from dataclasses import dataclass

from crossette.engine import WaitEstimate
from crossette.errors import Overloaded
from crossette.settings import Count, Seconds, setting

_UNKNOWN_S = 1.0
"""What a client is told to wait while nothing has been measured yet."""

_MOST_S = 60.0
"""What a client is told to wait for others that were refused before it."""


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """How much may wait for an engine."""

    max_wait: Seconds = setting(
        60.0, "Seconds that a request may have to wait for its turn, by estimate; beyond it is refused with 503."
    )
    max_waiting: Count = setting(
        512, "Sequences that may wait for their turn; while so many do, requests that find no place get a 503."
    )


class Returns:
    """When those that an engine refused were told to come back: one after the other, or all would come at once."""

    def __init__(self) -> None:
        self._last = -math.inf

    def after_s(self, wait_s: float, slot_s: float, now: float) -> float:
        """Seconds for the next: `wait_s`, or until a place after the last one, if that is later.

        By a minute at most: else clients that ask again without waiting would push everybody's turn away.
        """
        self._last = min(max(now + wait_s, self._last + slot_s), now + wait_s + _MOST_S)
        return self._last - now


def check_queue(wait: WaitEstimate, settings: QueueSettings, returns: Returns, now: float) -> None:
    """Raise Overloaded if a request would wait too long, with the time after which it would not.

    Whoever finds a place is let in, however slow the engine seems. `now` is in seconds of a clock that never goes back.
    """
    if wait.has_slot:
        return
    if wait.waiting >= settings.max_waiting:
        excess = wait.waiting - settings.max_waiting + 1
        raise Overloaded(
            f"{wait.waiting} sequences wait already, and {settings.max_waiting} is the limit. Retry later, "
            "or start the server with a larger --max-waiting.",
            retry_after=returns.after_s(excess * wait.slot_s or _UNKNOWN_S, wait.slot_s, now),
        )
    if wait.seconds > settings.max_wait:
        raise Overloaded(
            f"The wait is about {wait.seconds:.0f} s by now, and {settings.max_wait:.0f} s is the limit. Retry later, "
            "or start the server with a larger --max-wait.",
            retry_after=returns.after_s(wait.seconds - settings.max_wait, wait.slot_s, now),
        )
