"""How long a request would wait for its turn, and when that is too long to let it in."""

from __future__ import annotations

import math
from dataclasses import dataclass

from crossette.engine import EngineStats
from crossette.errors import Overloaded
from crossette.settings import Count, Seconds, setting

_UNKNOWN_S = 1.0
"""What a client is told to wait while nothing has been measured yet."""


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """How much may wait for an engine."""

    max_wait: Seconds = setting(
        60.0, "Seconds that a request may have to wait for its turn, by estimate; beyond it is refused with 503."
    )
    max_waiting: Count = setting(512, "Sequences that may wait for their turn; while so many do, requests get a 503.")


class Returns:
    """When those that an engine refused were told to come back: one after the other, or all would come at once."""

    def __init__(self) -> None:
        self._last = -math.inf

    def after_s(self, wait_s: float, place_s: float, most_s: float, now: float) -> float:
        """Seconds for the next: `wait_s`, or until a place later than the last one, but no more than `most_s` longer.

        Without that bound, clients that ask without waiting would push everybody's turn away.
        """
        self._last = min(max(now + wait_s, self._last + place_s), now + wait_s + most_s)
        return self._last - now


def estimated_wait_s(stats: EngineStats) -> float:
    """Seconds until the work that is there lets a newcomer begin. What has not been measured yet counts nothing.

    Prompts ahead must be computed; and where the last step left somebody waiting, so many choices must end as wait.
    The two overlap, so the longer of them counts.
    """
    prompts_s = _seconds(stats.pending_prompt_tokens, stats.speeds.prompt_tokens_per_s)
    places_s = (stats.waiting + 1) * _place_s(stats) if stats.held_back else 0.0
    return max(prompts_s, places_s)


def check_queue(stats: EngineStats, settings: QueueSettings, returns: Returns, now: float) -> None:
    """Raise Overloaded if a request would wait too long, with the time after which it would not.

    `now` is in seconds, on a clock that never goes back.
    """
    place_s = _place_s(stats)
    if stats.waiting >= settings.max_waiting:
        excess = stats.waiting - settings.max_waiting + 1
        raise Overloaded(
            f"{stats.waiting} sequences wait already, and {settings.max_waiting} is the limit. Retry later, "
            "or start the server with a larger --max-waiting.",
            retry_after=returns.after_s(excess * place_s or _UNKNOWN_S, place_s, settings.max_wait, now),
        )
    wait_s = estimated_wait_s(stats)
    if wait_s > settings.max_wait:
        raise Overloaded(
            f"The wait is about {wait_s:.0f} s by now, and {settings.max_wait:.0f} s is the limit. Retry later, "
            "or start the server with a larger --max-wait.",
            retry_after=returns.after_s(wait_s - settings.max_wait, place_s, settings.max_wait, now),
        )


def _place_s(stats: EngineStats) -> float:
    """Seconds between two ends of choices while the batch is full."""
    return _seconds(stats.speeds.mean_output_tokens, stats.speeds.output_tokens_per_s)


def _seconds(tokens: float, per_s: float) -> float:
    return tokens / per_s if per_s else 0.0
