"""Numbers as text: what is read is what JSON would read, and anything else is refused."""

from __future__ import annotations

import json
import math
from collections.abc import Callable

import pytest
from click.testing import CliRunner
from hypothesis import example, given
from hypothesis import strategies as st

from crossette.cli import main as cli
from crossette.numerals import parse_count, parse_decimal, parse_whole

NUMBERLIKE = st.text(st.sampled_from("0123456789+-_.eE \n\t\u0661\uff11\u00b2xo"), max_size=12)


def read(parse: Callable[[str], float], text: str) -> float | None:
    try:
        return parse(text)
    except ValueError:
        return None


def as_json(text: str) -> float | None:
    """What JSON reads, to the last character; None where it is no number."""
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
def test_whole_numbers_are_those_of_json(text: str) -> None:
    number = as_json(text)
    is_whole = type(number) is int and len(text.lstrip("-")) <= 19

    assert read(parse_whole, text) == (number if is_whole else None)
    assert read(parse_count, text) == (number if is_whole and text[0] != "-" else None)


@given(NUMBERLIKE | st.floats().map(str))
@example("1e999")
@example(".5")
@example("NaN")
def test_decimals_are_those_of_json_with_a_point_anywhere(text: str) -> None:
    number = read(parse_decimal, text)

    if number is None:
        assert as_json(text) is None or "e" in text.lower()  # of exponents, those of up to three digits
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
def test_a_command_reads_no_other_number_than_was_typed(arguments: list[str], text: str) -> None:
    ended = CliRunner().invoke(cli.app, [*arguments, text])

    assert ended.exit_code == 2
    assert "is no whole number" in ended.output


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "1e999", "1_0", " 1", "+1", "\u0661", "", "0,5"])
@pytest.mark.parametrize("arguments", [["status", "--interval"], ["bench", "--temperature"]], ids=["status", "bench"])
def test_a_command_reads_no_other_decimal_than_was_typed(arguments: list[str], text: str) -> None:
    ended = CliRunner().invoke(cli.app, [*arguments, text])

    assert ended.exit_code == 2
    assert "is no number" in ended.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["status", "--interval", "0.05"], "0.05 is not at least 0.1 and at most 31536000"),
        (["keys", "create", "a", "--total-tokens", "0"], "0 is not at least 1 and at most 9007199254740992"),
    ],
)
def test_bounds_of_a_number_are_told(arguments: list[str], words: str) -> None:
    ended = CliRunner().invoke(cli.app, arguments, env={"COLUMNS": "200"})

    assert ended.exit_code == 2
    assert words in ended.output
