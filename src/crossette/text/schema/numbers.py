"""Which numbers of a schema the grammar's compiler reads as they were sent, and bounds drawn in to such numbers.

It reads 64-bit floats, a last digit wrong where a number has many, and integers of 64 bits where the type is integer.
"""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Final, Literal

EXACT: Final = 2**53
"""Up to here every integer is a number of its own in all readers of JSON, and in the compiler."""

_DIGITS: Final = 15
"""So many significant ones name a 64-bit float of their own."""

Side = Literal["minimum", "maximum"]


def is_exact(number: float) -> bool:
    """Whether the compiler writes the number that was sent, whatever else is said of it."""
    if isinstance(number, int) and abs(number) <= EXACT:
        return True
    _, digits, exponent = Decimal(repr(number)).normalize().as_tuple()
    return len(digits) <= _DIGITS and int(exponent) >= -22 and abs(number) < 2**63


def drawn_in(bound: float, side: Side, *, is_exclusive: bool, is_integer: bool) -> float:
    """The nearest bound that the compiler reads as it is sent, and that belongs to what it bounds.

    Of exclusive bounds it lets some through: 0 where a number is above 0 and below 0.5. What is closer to one than its
    fifteenth digit is lost; most readers would take it for the bound itself.
    """
    up = side == "minimum"
    value = Decimal(repr(bound))
    unit = Decimal(1) if is_integer else Decimal(10) ** min(0, (value.adjusted() if value else -1) + 1 - _DIGITS)
    exact = (value / unit).to_integral_value(ROUND_CEILING if up else ROUND_FLOOR) * unit
    if is_exclusive and exact == value:
        exact += unit if up else -unit
    return int(exact) if exact == exact.to_integral_value() else float(exact)


def digits_of_step(step: float) -> int:
    """A `multipleOf` without its point: 25 for 0.25."""
    number = Decimal(repr(step)).normalize()
    if number == number.to_integral_value():
        return int(number)
    return int("".join(map(str, number.as_tuple().digits)))
