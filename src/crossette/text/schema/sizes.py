"""Bounds on the number of an object's properties, as sets of names that are required or absent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from math import comb
from typing import Any, Final

from crossette.text.schema.names import Names
from crossette.text.schema.negation import KINDS
from crossette.text.schema.part import Context, Part
from crossette.text.schema.regex_tree import listed
from crossette.text.schema.report import Report

_OBJECT: Final = ("properties", "patternProperties", "additionalProperties")


def check_sizes(
    part: Part, out: dict[str, Any], names: Names, context: Context, report: Report
) -> list[dict[str, Any]]:
    """Replace bounds that the compiler does not support. Return the schemas that apply as well.

    `names`: those that the schemas of the object know together. Bounds on unknown names are left out.
    """
    required = set(out.get("required", ()))
    possible = _possible_names(part, out, names)
    optional = [name for name in possible or () if name not in required]
    conjuncts: list[dict[str, Any]] = []
    for keyword, choices in (("minProperties", _at_least), ("maxProperties", _at_most)):
        if keyword not in out or _is_supported(out, keyword):
            continue
        num = out.pop(keyword) - len(required)
        found = None if possible is None else choices(optional, num, lambda size: context.may_branch(part, size))
        if found is None:
            reason = "free keys may repeat; list the keys in 'required'."
            if possible is not None:
                reason = "a grammar cannot count optional properties; require them."
            report.leave_out(part, keyword, reason)
        else:
            conjuncts += [{"anyOf": found}] if found else [{"type": [kind for kind in KINDS if kind != "object"]}]
    return conjuncts


def _is_supported(out: dict[str, Any], keyword: str) -> bool:
    """Whether the compiler enforces a bound: next to optional properties only 1, in an object of these alone."""
    required = out.get("required", ())
    has_optional = any(one is not False for name, one in out.get("properties", {}).items() if name not in required)
    is_closed = out.get("additionalProperties") is False and "patternProperties" not in out
    both = [out[one] - len(required) for one in ("minProperties", "maxProperties") if one in out]
    if has_optional:
        return is_closed and all(num == 1 or (keyword == "minProperties" and num <= 0) for num in both)
    return keyword == "maxProperties" or out[keyword] <= len(required) + 1


def _possible_names(part: Part, out: dict[str, Any], names: Names) -> list[str] | None:
    """All names that the object can have; None if they are not known."""
    if not any(keyword in out for keyword in _OBJECT):
        return list(names) if names else None
    if out.get("additionalProperties") is not False:
        return None
    possible = [name for name, one in out.get("properties", {}).items() if one is not False]
    for pattern in part.schema.get("patternProperties", ()) if "patternProperties" in out else ():
        found = listed(pattern)
        if found is None:
            return None
        possible += found
    return list(dict.fromkeys([*possible, *out.get("required", ())]))


def _at_least(names: Sequence[str], num: int, may_branch: Callable[[int], bool]) -> list[dict[str, Any]] | None:
    """The objects with at least so many of these names; None if they are too many cases."""
    if num <= 0:
        return [{}]
    size = comb(len(names), num)
    if size > 1 and not may_branch(size):
        return None
    return [{"required": list(some)} for some in combinations(names, num)]


def _at_most(names: Sequence[str], num: int, may_branch: Callable[[int], bool]) -> list[dict[str, Any]] | None:
    """The objects with at most so many of these names; None if they are too many cases."""
    if num < 0 or num >= len(names):
        return [] if num < 0 else [{}]
    size = comb(len(names), num)
    if size > 1 and not may_branch(size):
        return None
    return [{"properties": dict.fromkeys(some, False)} for some in combinations(names, len(names) - num)]
