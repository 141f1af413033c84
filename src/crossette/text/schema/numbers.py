"""Numbers of a schema that the grammar compiler parses exactly, and bounds tightened to such numbers.

The compiler parses 64-bit floats, with an error in the last digit of long ones, and 64-bit integers for integer types.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_FLOOR, Decimal
from typing import Final, Literal

EXACT: Final = 2**53
"""Up to here all JSON parsers, and the compiler, represent every integer exactly."""

_DIGITS: Final = 15
"""Significant digits up to which every number is a 64-bit float of its own."""

Side = Literal["minimum", "maximum"]


def is_exact(number: float) -> bool:
    """Whether the compiler generates exactly this number, with any further keywords."""
    if isinstance(number, int) and abs(number) <= EXACT:
        return True
    _, digits, exponent = Decimal(repr(number)).normalize().as_tuple()
    return len(digits) <= _DIGITS and int(exponent) >= -22 and abs(number) < 2**63


def tightened(bound: float, side: Side, *, is_exclusive: bool, is_integer: bool) -> float:
    """The nearest inclusive bound that the compiler parses exactly.

    The compiler itself allows some exclusive bounds: 0 for a number above 0 and below 0.5. Numbers that differ from a
    bound only after its fifteenth digit are lost; most parsers would take them for the bound itself.
    """
    up = side == "minimum"
    value = Decimal(repr(bound))
    unit = Decimal(1) if is_integer else Decimal(10) ** min(0, (value.adjusted() if value else -1) + 1 - _DIGITS)
    exact = (value / unit).to_integral_value(ROUND_CEILING if up else ROUND_FLOOR) * unit
    if is_exclusive and exact == value:
        exact += unit if up else -unit
    return int(exact) if exact == exact.to_integral_value() else float(exact)


def shorter_numbers(bounds: Mapping[str, float]) -> list[float]:
    """The numbers of fewer digits that the compiler excludes although they are within the bounds: 199.9 for 199.95.

    It compares digits from the left, and requires as many as the bound has if they begin like those of the bound.
    """
    outward = [Decimal(repr(value)) for side, value in bounds.items() if (value > 0) == (side == "maximum")]
    num_digits = [(value, -int(value.as_tuple().exponent)) for value in outward]
    cut = [value.quantize(Decimal(1).scaleb(-num), ROUND_DOWN) for value, most in num_digits for num in range(1, most)]
    low, high = bounds.get("minimum", -EXACT), bounds.get("maximum", EXACT)
    return [number for number in map(float, cut) if low <= number <= high]


def digits_of_step(step: float) -> int:
    """The digits of a `multipleOf` as an integer: 25 for 0.25."""
    number = Decimal(repr(step)).normalize()
    if number == number.to_integral_value():
        return int(number)
    return int("".join(map(str, number.as_tuple().digits)))
