"""How long a request would wait for its turn, and when that is too long to let it in."""

from __future__ import annotations

import math
from dataclasses import dataclass

from crossette.engine import EngineStats
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
    max_waiting: Count = setting(512, "Sequences that may wait for their turn; while so many do, requests get a 503.")


class Returns:
    """When those that an engine refused were told to come back: one after the other, or all would come at once."""

    def __init__(self) -> None:
        self._last = -math.inf

    def after_s(self, wait_s: float, place_s: float, now: float) -> float:
        """Seconds for the next: `wait_s`, or until a place after the last one, if that is later.

        By a minute at most: else clients that ask again without waiting would push everybody's turn away.
        """
        self._last = min(max(now + wait_s, self._last + place_s), now + wait_s + _MOST_S)
        return self._last - now


def estimated_wait_s(stats: EngineStats) -> float:
    """Seconds until the work that is there lets a newcomer begin. What has not been measured yet counts nothing.

    Prompts ahead must be computed, and choices must end until there is a place. The two overlap, so the longer counts.
    """
    prompts_s = _seconds(stats.pending_prompt_tokens, stats.speeds.prompt_tokens_per_s)
    return max(prompts_s, _num_ahead(stats) * _place_s(stats))


def _num_ahead(stats: EngineStats) -> int:
    """Choices that must end before a newcomer begins: of those that find no place in the batch, or no blocks.

    That there are no blocks is known once a step has left somebody waiting.
    """
    if stats.held_back:
        return stats.waiting + 1
    if not stats.max_sequences:
        return 0
    return max(0, stats.running + stats.waiting + 1 - stats.max_sequences)


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
            retry_after=returns.after_s(excess * place_s or _UNKNOWN_S, place_s, now),
        )
    wait_s = estimated_wait_s(stats)
    if wait_s > settings.max_wait:
        raise Overloaded(
            f"The wait is about {wait_s:.0f} s by now, and {settings.max_wait:.0f} s is the limit. Retry later, "
            "or start the server with a larger --max-wait.",
            retry_after=returns.after_s(wait_s - settings.max_wait, place_s, now),
        )


def _place_s(stats: EngineStats) -> float:
    """Seconds between two ends of choices while the batch is full.

    A batch that was not full yet gave fewer tokens in a step than a full one will, in a step that is hardly shorter.
    """
    speeds = stats.speeds
    full_per_s = stats.max_sequences / speeds.step_s if speeds.step_s else 0.0
    return _seconds(speeds.mean_output_tokens, max(speeds.output_tokens_per_s, full_per_s))


def _seconds(tokens: float, per_s: float) -> float:
    return tokens / per_s if per_s else 0.0
