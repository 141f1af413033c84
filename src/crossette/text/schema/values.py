"""Values of keywords that the grammar can generate exactly: texts, numbers, bounds, patterns and formats."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import inf
from typing import Any, Final

from crossette.text.schema.compiles import fault_of
from crossette.text.schema.formats import (
    ALIASES,
    CHECKED_FORMATS,
    FORMAT_SCHEMAS,
    FORMATS,
    INTEGER_FORMATS,
    LONGEST,
)
from crossette.text.schema.numbers import EXACT, Side, is_exact, shorter_numbers, tightened
from crossette.text.schema.part import Context, Part
from crossette.text.schema.patterns import conjuncts_of, has_assertion
from crossette.text.schema.report import Report


def unwritable(keyword: str, value: Any) -> str | None:
    """Why the grammar cannot generate a value of `enum`, `const` or `required`; None if it can."""
    if keyword in ("enum", "const", "required"):
        for leaf in _leaves(value):
            if isinstance(leaf, str) and not is_writable(leaf):
                return f"{leaf[:40]!r} contains a control character or half a surrogate pair."
            if not isinstance(leaf, bool | str | None) and not is_exact(leaf):
                return f"{leaf} is too large, or has too many digits, to be exact in JSON."
    return None


def is_writable(text: str) -> bool:
    """Whether the grammar can generate a string."""
    return not any(
        (char < " " and char not in "\b\f\n\r\t") or "\x7f" <= char < "\x80" or "\ud800" <= char < "\ue000"
        for char in text
    )


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        yield from (leaf for item in value for leaf in _leaves(item))
    elif isinstance(value, dict):
        yield from (leaf for pair in value.items() for leaf in _leaves(list(pair)))
    else:
        yield value


# --- numbers ---

_TIGHTER: Final[dict[Side, Callable[[float, float], float]]] = {"minimum": max, "maximum": min}


def read_bounds(part: Part, out: dict[str, Any], context: Context, report: Report) -> list[dict[str, Any]]:
    """Copy the bounds of a number as inclusive bounds. Return the schemas that apply as well.

    Bounds beyond 2**53 become 2**53: its numbers match both. A bound that no number up to 2**53 is within is left out.
    """
    bounds = _inclusive_bounds(part, report)
    is_listed = part.has("enum") or part.has("const")
    shorter = [] if is_listed or "number" not in (part.types() or ["number"]) else shorter_numbers(bounds)
    if shorter and context.may_branch(part, len(shorter) + 1):
        return [{"anyOf": [bounds, {"enum": shorter}]}]
    out |= bounds
    return []


def _inclusive_bounds(part: Part, report: Report) -> dict[str, float]:
    bounds: dict[str, float] = {}
    is_integer = part.schema.get("type") == "integer"
    for side, tighter in _TIGHTER.items():
        limit = -EXACT if side == "minimum" else EXACT
        for keyword, value, is_exclusive in _bounds(part, side):
            bound = value
            if abs(value) <= EXACT:
                bound = tightened(value, side, is_exclusive=is_exclusive, is_integer=is_integer)
            if abs(bound) > EXACT and (bound > 0) == (limit > 0):
                bound = limit
            if abs(bound) > EXACT:
                report.leave_out(part, keyword, f"numbers beyond {value} are not exact in JSON; {EXACT} is the limit.")
            else:
                bounds[side] = tighter(bounds.get(side, bound), bound)
    return bounds


def _bounds(part: Part, side: Side) -> Iterator[tuple[str, float, bool]]:
    """The bounds on a side: keyword, value, and whether it is exclusive."""
    schema, exclusive = part.schema, "exclusive" + side.capitalize()
    if isinstance(schema.get(exclusive), bool):  # in draft 4 a boolean that belongs to `minimum`
        if side in schema:
            yield side, schema[side], schema[exclusive]
    else:
        if side in schema:
            yield side, schema[side], False
        if exclusive in schema:
            yield exclusive, schema[exclusive], True
    if "integer" in part.types() and "number" not in part.types() and schema.get("format") in INTEGER_FORMATS:
        low, high = INTEGER_FORMATS[schema["format"]]
        yield "format", max(low, -EXACT) if side == "minimum" else min(high, EXACT), False


# --- strings ---

_LENGTHS: Final[tuple[str, ...]] = ("minLength", "maxLength")
_Piece = tuple[str, dict[str, Any]]
"""A keyword, and a schema that says the same."""


def read_text(part: Part, out: dict[str, Any], context: Context, report: Report) -> list[dict[str, Any]]:
    """The schemas of `pattern` and `format`, which apply as well; lengths in `out` that cannot be enforced are dropped.

    A pattern with lengths may be too much for the compiler: the lengths are left out then.
    """
    pieces: list[_Piece] = [("pattern", one) for one in _pattern(part, context, report)]
    if part.has("format"):
        pieces += [("format", one) for one in _format(part, out, report)]
    lengths: list[_Piece] = [(keyword, {keyword: out.pop(keyword)}) for keyword in _LENGTHS if keyword in out]
    if part.has("pattern") and fault_of([one for _, one in pieces + lengths]):
        kept = _compiling(part, pieces + lengths, report)
        pieces, lengths = ([one for one in kept if (one[0] in _LENGTHS) == wanted] for wanted in (False, True))
    for _, length in lengths:
        out |= length
    return [one for _, one in pieces]


def _compiling(part: Part, pieces: list[_Piece], report: Report) -> list[_Piece]:
    """The pieces that compile together. The others are left out."""
    kept: list[_Piece] = []
    for keyword, one in pieces:
        fault = fault_of([schema for _, schema in [*kept, (keyword, one)]])
        if fault:
            report.leave_out(part, keyword, fault)
        else:
            kept.append((keyword, one))
    return kept


def _pattern(part: Part, context: Context, report: Report) -> list[dict[str, Any]]:
    pattern = part.schema.get("pattern", "")
    if has_assertion(pattern) and not context.may_complement():
        report.leave_out(part, "pattern", "too many patterns have assertions like '(?!a)'.")
        return []
    try:
        return [{"pattern": one} for one in conjuncts_of(pattern) if one]
    except ValueError as error:
        report.leave_out(part, "pattern", f"{error} in '{pattern[:80]}'.")
        return []


def _format(part: Part, out: dict[str, Any], report: Report) -> list[dict[str, Any]]:
    name = ALIASES.get(part.schema["format"], part.schema["format"])
    if name in FORMATS:
        return [{"format": name}]
    if name in CHECKED_FORMATS:
        report.leave_out(part, "format", f"'{name}' has no pattern; describe it by 'pattern'.")
    if name in FORMAT_SCHEMAS:
        if out.get("maxLength", 0) >= LONGEST.get(name, inf):
            del out["maxLength"]  # no effect, but slow to compile
        return [dict(FORMAT_SCHEMAS[name])]
    return []
