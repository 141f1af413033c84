"""Token prices."""

from __future__ import annotations

import pytest

from crossette.accounts.prices import Price, parse_prices
from crossette.errors import ConfigError
from crossette.types import Usage


def test_cached_tokens_have_a_price_of_their_own() -> None:
    assert Price(2.0, 0.5, 8.0).of(Usage(1_000_000, 100_000, cached_tokens=400_000)) == 1.2 + 0.2 + 0.8


def test_prices_are_read_by_model() -> None:
    assert parse_prices(["a=1/.5/2e-1", "b=c=0/0/0"]) == {"a": Price(1, 0.5, 0.2), "b=c": Price(0, 0, 0)}


INVALID_NUMBERS = [f"a=1/2/{price}" for price in ("1_0", " 3", "3 ", "+3", "00.3", "\u0663", "1e999", "", "-0.1")]


@pytest.mark.parametrize(
    "text", ["a", "a=1", "=1/2/3", "a=1/2/x", "a=1/2/-3", "a=1/2/inf", "a=1/2/nan", "a=1/2/3/4", *INVALID_NUMBERS]
)
def test_an_invalid_price_is_rejected(text: str) -> None:
    with pytest.raises(ConfigError, match=r"is not a price\. Give MODEL=PROMPT/CACHED/COMPLETION"):
        parse_prices([text])
