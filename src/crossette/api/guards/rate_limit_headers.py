"""What a client is told of its limits, in the names of each dialect; and when to come back."""

from __future__ import annotations

import math
from collections.abc import Sequence

from crossette.accounts.limits import Allowance
from crossette.api.dialect import Dialect
from crossette.errors import BudgetSpent, RetryLater, ServingError

_FIREWORKS_NAMES = {
    "requests": "requests",
    "prompt_tokens": "tokens-prompt",
    "cached_tokens": "tokens-cached-prompt",
    "generated_tokens": "tokens-generated",
}


def retry_headers(error: ServingError) -> dict[str, str]:
    """When to ask again. Rounded up, so that whoever waits as long does not come too early."""
    if isinstance(error, BudgetSpent):
        return {"x-should-retry": "false"}
    if not isinstance(error, RetryLater):
        return {}
    return {
        "retry-after": str(max(1, math.ceil(error.retry_after))),
        "retry-after-ms": str(max(1, math.ceil(1000 * error.retry_after))),
    }


def limit_headers(allowances: Sequence[Allowance], dialect: Dialect, *, over: bool) -> dict[str, str]:
    """Limits by the minute as they stand. `over`: whether this request, or the next one, is refused for them."""
    if dialect.limit_headers == "openai":
        return _openai(allowances)
    return _fireworks(allowances) | {"x-ratelimit-over-limit": "yes" if over else "no"}


def _openai(allowances: Sequence[Allowance]) -> dict[str, str]:
    """Requests, and tokens: of several limits on tokens, the one of which the smallest share is left."""
    shown = [("requests", one) for one in allowances if one.rate == "requests"]
    tokens = [one for one in allowances if one.rate != "requests"]
    if tokens:
        shown.append(("tokens", min(tokens, key=lambda one: one.remaining / max(1, one.per_minute))))
    headers = {}
    for name, one in shown:
        headers[f"x-ratelimit-limit-{name}"] = str(one.per_minute)
        headers[f"x-ratelimit-remaining-{name}"] = str(one.remaining)
        headers[f"x-ratelimit-reset-{name}"] = duration(one.full_in_s)
    return headers


def _fireworks(allowances: Sequence[Allowance]) -> dict[str, str]:
    """Tokens by the second, as Fireworks says it, though they are counted by the minute; requests by the minute."""
    headers = {}
    for one in allowances:
        name = _FIREWORKS_NAMES[one.rate]
        limit = one.per_minute if one.rate == "requests" else one.per_minute / 60
        headers[f"x-ratelimit-limit-{name}"] = f"{limit:.10g}" if limit == int(limit) else f"{limit:.2f}"
        headers[f"x-ratelimit-remaining-{name}"] = str(one.remaining)
    return headers


def duration(seconds: float) -> str:
    """As OpenAI writes it: `17ms`, `8.64s`, `6m0s`, `1h0m0s`."""
    if math.isinf(seconds):
        return "0s"
    milliseconds = math.ceil(1000 * seconds)
    if 0 < milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    whole = f"{rest / 1000:g}s"
    return f"{hours}h{minutes}m{whole}" if hours else f"{minutes}m{whole}" if minutes else whole
