"""Token prices, in any currency."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from crossette.errors import ConfigError
from crossette.numerals import parse_decimal
from crossette.types import Usage


@dataclass(frozen=True, slots=True)
class Price:
    """Prices per million tokens. Prompt tokens found in the prefix cache cost `cached` instead of `prompt`."""

    prompt: float
    cached: float
    completion: float

    def of(self, usage: Usage) -> float:
        computed = usage.prompt_tokens - usage.cached_tokens
        return (
            computed * self.prompt + usage.cached_tokens * self.cached + usage.completion_tokens * self.completion
        ) / 1e6


def parse_prices(settings: Sequence[str]) -> Mapping[str, Price]:
    """Parse `MODEL=PROMPT/CACHED/COMPLETION` settings into prices by model. Raises ConfigError."""
    return dict(map(_parse, settings))


def _parse(text: str) -> tuple[str, Price]:
    model, _, prices = text.rpartition("=")
    try:
        amounts = [parse_decimal(part) for part in prices.split("/")]
    except ValueError:
        amounts = []
    if not model or len(amounts) != 3 or min(amounts) < 0:
        raise ConfigError(
            f"--price {text!r} is not a price. Give MODEL=PROMPT/CACHED/COMPLETION per million tokens: m=0.2/0.1/0.8"
        )
    return model, Price(*amounts)
