"""Number types for click with the strict notation of settings: click's own types accept more."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import click

from crossette.numerals import parse_decimal, parse_integer

NONE: Final = "none"


class _Number(click.ParamType[float]):
    """A number within bounds."""

    def __init__(self, name: str, parse: Callable[[str], float], least: float, most: float) -> None:
        self.name = name
        self._parse = parse
        self._least = least
        self._most = most

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            number = self._parse(value) if isinstance(value, str) else value  # a default is a number already
        except ValueError as error:
            self.fail(f"{error}.", param, ctx)
        if not isinstance(number, int | float) or not self._least <= number <= self._most:
            self.fail(f"{value} is not {self._bounds()}.", param, ctx)
        return number

    def _bounds(self) -> str:
        least = [f"at least {self._least}"] * (self._least > -math.inf)
        return " and ".join(least + [f"at most {self._most}"] * (self._most < math.inf))


def integer(least: float = -math.inf, most: float = math.inf) -> click.ParamType[float]:
    """An integer."""
    return _Number("integer", parse_integer, least, most)


class _NoneOr(click.ParamType[float | str]):
    """A value, or `none`."""

    def __init__(self, kind: click.ParamType[float]) -> None:
        self.name = f"{kind.name}|none"
        self._kind = kind

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float | str:
        return NONE if value == NONE else self._kind.convert(value, param, ctx)

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        return f"{self._kind.name.upper()}|{NONE}"


def or_none(kind: click.ParamType[float]) -> click.ParamType[float | str]:
    """A value of that kind, or `NONE`, which removes the one that is set."""
    return _NoneOr(kind)


def decimal(least: float = -math.inf, most: float = math.inf) -> click.ParamType[float]:
    """A finite number."""
    return _Number("number", parse_decimal, least, most)
