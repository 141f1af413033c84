"""Rate limit headers under the names of each dialect, and `retry-after`."""

from __future__ import annotations

import math
from collections.abc import Sequence

from crossette.accounts.standing import Allowance
from crossette.api.dialect import Dialect
from crossette.errors import BudgetSpent, RetryLater, ServingError

_FIREWORKS_NAMES = {
    "requests": "requests",
    "prompt_tokens": "tokens-prompt",
    "cached_tokens": "tokens-cached-prompt",
    "generated_tokens": "tokens-generated",
}


def retry_headers(error: ServingError) -> dict[str, str]:
    """The `retry-after` headers of an error, rounded up so that a retry is never too early."""
    if isinstance(error, BudgetSpent):
        return {"x-should-retry": "false"}
    if not isinstance(error, RetryLater):
        return {}
    return {
        "retry-after": str(max(1, math.ceil(error.retry_after))),
        "retry-after-ms": str(max(1, math.ceil(1000 * error.retry_after))),
    }


def limit_headers(allowances: Sequence[Allowance], dialect: Dialect, *, over: bool) -> dict[str, str]:
    """The current limits per minute. `over`: whether this request or the next one exceeds a limit."""
    if dialect.limit_headers == "openai":
        return _openai(allowances)
    return _fireworks(allowances) | {"x-ratelimit-over-limit": "yes" if over else "no"}


def _openai(allowances: Sequence[Allowance]) -> dict[str, str]:
    """Requests, and tokens: of several token limits, the one with the smallest fraction left."""
    shown = [("requests", allowance) for allowance in allowances if allowance.rate == "requests"]
    tokens = [allowance for allowance in allowances if allowance.rate != "requests"]
    if tokens:
        shown.append(("tokens", min(tokens, key=lambda limit: limit.remaining / max(1, limit.per_minute))))
    headers = {}
    for name, allowance in shown:
        headers[f"x-ratelimit-limit-{name}"] = str(allowance.per_minute)
        headers[f"x-ratelimit-remaining-{name}"] = str(allowance.remaining)
        headers[f"x-ratelimit-reset-{name}"] = duration(allowance.full_in_s)
    return headers


def _fireworks(allowances: Sequence[Allowance]) -> dict[str, str]:
    """Token limits per second, as Fireworks reports them, though they apply per minute; requests per minute."""
    headers = {}
    for allowance in allowances:
        name = _FIREWORKS_NAMES[allowance.rate]
        limit = allowance.per_minute if allowance.rate == "requests" else allowance.per_minute / 60
        headers[f"x-ratelimit-limit-{name}"] = f"{limit:.10g}" if limit == int(limit) else f"{limit:.2f}"
        headers[f"x-ratelimit-remaining-{name}"] = str(allowance.remaining)
    return headers


def duration(seconds: float) -> str:
    """Seconds in OpenAI's notation: `17ms`, `8.64s`, `6m0s`, `1h0m0s`."""
    if math.isinf(seconds):
        return "0s"
    milliseconds = math.ceil(1000 * seconds)
    if 0 < milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    seconds_text = f"{rest / 1000:g}s"
    return f"{hours}h{minutes}m{seconds_text}" if hours else f"{minutes}m{seconds_text}" if minutes else seconds_text
