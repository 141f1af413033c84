"""Number parsers: the notation of JSON is accepted, anything else is rejected."""

from __future__ import annotations

import json
import math
from collections.abc import Callable

import pytest
from click.testing import CliRunner
from hypothesis import example, given
from hypothesis import strategies as st

from crossette.cli import main as cli
from crossette.numerals import parse_count, parse_decimal, parse_integer

NUMBERLIKE = st.text(st.sampled_from("0123456789+-_.eE \n\t\u0661\uff11\u00b2xo"), max_size=12)


def read(parse: Callable[[str], float], text: str) -> float | None:
    try:
        return parse(text)
    except ValueError:
        return None


def as_json(text: str) -> float | None:
    """The JSON number of a whole text; None if it is not a number."""
    try:
        number = json.loads(text) if text == text.strip() else None
    except ValueError:
        return None
    return number if type(number) is int or (type(number) is float and math.isfinite(number)) else None


@given(NUMBERLIKE | st.integers().map(str))
@example("6_5")
@example("-0")
@example("9" * 19)
@example("9" * 20)
def test_integers_are_those_of_json(text: str) -> None:
    number = as_json(text)
    is_integer = type(number) is int and len(text.lstrip("-")) <= 19

    assert read(parse_integer, text) == (number if is_integer else None)
    assert read(parse_count, text) == (number if is_integer and text[0] != "-" else None)


@given(NUMBERLIKE | st.floats().map(str))
@example("1e999")
@example(".5")
@example("NaN")
def test_decimals_are_those_of_json_with_the_point_anywhere(text: str) -> None:
    number = read(parse_decimal, text)

    if number is None:
        assert as_json(text) is None or "e" in text.lower()  # exponents have at most three digits
    else:
        assert number == float(text)
        assert as_json(text) == number or "." in text


@pytest.mark.parametrize("text", ["1_0", " 10", "10 ", "+10", "010", "\u0661\u0660", "0x10", "", "10.0", "1e1"])
@pytest.mark.parametrize(
    "arguments",
    [
        ["keys", "create", "alice", "--requests-per-minute"],
        ["keys", "create", "alice", "--total-tokens"],
        *(
            ["bench", "--url", "http://127.0.0.1:1", flag]
            for flag in ("-n", "--prompt-tokens", "--max-tokens", "--seed")
        ),
    ],
    ids=lambda arguments: arguments[-1],
)
def test_a_command_rejects_ambiguous_integers(arguments: list[str], text: str) -> None:
    ended = CliRunner().invoke(cli.app, [*arguments, text])

    assert ended.exit_code == 2
    assert "is not an integer" in ended.output


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "1e999", "1_0", " 1", "+1", "\u0661", "", "0,5"])
@pytest.mark.parametrize("arguments", [["status", "--interval"], ["bench", "--temperature"]], ids=["status", "bench"])
def test_a_command_rejects_ambiguous_decimals(arguments: list[str], text: str) -> None:
    ended = CliRunner().invoke(cli.app, [*arguments, text])

    assert ended.exit_code == 2
    assert "is not a number" in ended.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["status", "--interval", "0.05"], "0.05 is not at least 0.1 and at most 31536000"),
        (["keys", "create", "a", "--total-tokens", "0"], "0 is not at least 1 and at most 9007199254740992"),
    ],
)
def test_an_error_has_the_bounds_of_a_number(arguments: list[str], message: str) -> None:
    ended = CliRunner().invoke(cli.app, arguments, env={"COLUMNS": "200"})

    assert ended.exit_code == 2
    assert message in ended.output
