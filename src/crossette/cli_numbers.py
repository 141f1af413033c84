"""Numbers on the command line: read by the same rule as those in settings, where typer's versions take more."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import typer

from crossette.numerals import parse_decimal, parse_whole


def whole(*flags: str, least: float = -math.inf, most: float = math.inf, help: str) -> Any:
    """An option that is a whole number."""
    return _option(parse_whole, "<integer>", flags, least, most, help)


def decimal(*flags: str, least: float = -math.inf, most: float = math.inf, help: str) -> Any:
    """An option that is a finite number."""
    return _option(parse_decimal, "<number>", flags, least, most, help)


def _option(
    parse: Callable[[str], float], metavar: str, flags: tuple[str, ...], least: float, most: float, help: str
) -> Any:
    def parser(text: str) -> float:  # typer may call it with a default, too, which is a number already
        try:
            number = parse(text) if isinstance(text, str) else text
        except ValueError as error:
            raise typer.BadParameter(f"{error}.") from None
        if not least <= number <= most:
            raise typer.BadParameter(f"{text} is not {_bounds(least, most)}.")
        return number

    return typer.Option(*flags, parser=parser, metavar=metavar, help=help)


def _bounds(least: float, most: float) -> str:
    parts = [f"at least {least}"] * (least > -math.inf) + [f"at most {most}"] * (most < math.inf)
    return " and ".join(parts)
