"""The complement of a schema, where other keywords express it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations, pairwise
from typing import Any, Final

from crossette.text.schema.automata import complement
from crossette.text.schema.keywords import MEANINGFUL
from crossette.text.schema.part import OPEN, Context, Part, Schema
from crossette.text.schema.regex_tree import MAX_LISTED, listed

KINDS: Final = ("null", "boolean", "number", "string", "array", "object")

_MAX_SCHEMAS: Final = 50
"""The most schemas in a complement."""
_MAX_VALUES: Final = 30
_MAX_BRANCHES: Final = 3
_LOWEST: Final = {"minLength": "string", "minItems": "array", "minProperties": "object"}
_HIGHEST: Final = {"maxLength": "string", "maxItems": "array", "maxProperties": "object"}
_BEYOND: Final = {
    "minimum": "exclusiveMaximum",
    "maximum": "exclusiveMinimum",
    "exclusiveMinimum": "maximum",
    "exclusiveMaximum": "minimum",
}


def negated(part: Part, context: Context) -> Schema | None:
    """A schema of exactly the values that do not match; None if no keywords express it, or only a large schema."""
    return _negated(part, context, iter(range(_MAX_SCHEMAS)))


def _negated(part: Part, context: Context, steps: Iterator[int]) -> Schema | None:
    """`steps`: one is taken for each schema within."""
    schema = part.schema
    if isinstance(schema, bool) or next(steps, None) is None:
        return not schema if isinstance(schema, bool) else None
    options: list[Schema] = []
    for keyword in (one for one in schema if one in MEANINGFUL):
        if context.ignores(part, keyword):
            return None
        option = _negated_keyword(part, keyword, context, steps)
        if option is None:
            return None
        options.append(option)
    return any_of(options)


def any_of(options: Sequence[Schema]) -> Schema:
    """Values that match one of several schemas."""
    if any(one is True for one in options):
        return True
    possible = [one for one in options if one is not False]
    if not possible:
        return False
    return possible[0] if len(possible) == 1 else {"anyOf": possible}


def all_of(conditions: Sequence[Schema]) -> Schema:
    """Values that match all of several schemas."""
    if any(one is False for one in conditions):
        return False
    needed = [one for one in conditions if one is not True]
    if not needed:
        return True
    return needed[0] if len(needed) == 1 else {"allOf": needed}


def _negated_keyword(part: Part, keyword: str, context: Context, steps: Iterator[int]) -> Schema | None:
    """The values that a single keyword excludes."""
    value = part.schema[keyword]
    match keyword:
        case "type":
            return _other_kinds(part.types())
        case "const":
            return _other_values([value], context)
        case "enum":
            return _other_values(value, context)
        case "not":
            return part.at("not")
        case "required":
            return any_of([_absent(name) for name in value]) if len(value) <= _MAX_VALUES else None
        case "properties":
            return _negated_properties(part, context, steps)
        case "allOf":
            return _all_or_none([_negated(one, context, steps) for one in part.members(keyword)], any_of)
        case "anyOf":
            return _all_or_none([_negated(one, context, steps) for one in part.members(keyword)], all_of)
        case "$ref":
            found = context.target(part)
            return None if found is None else _negated(found, context, steps)
        case "pattern":
            return _other_texts(value, context)
        case "additionalProperties" | "items" if value is True or value == {}:
            return False
        case "oneOf":
            return _negated_one_of(part.members(keyword), context, steps)
        case "items" | "prefixItems":
            return _negated_items(part, context, steps)
        case "contains" if not part.has("minContains") and not part.has("maxContains"):
            other = _negated(part.at("contains"), context, steps)
            return None if other is None else {"type": "array", "items": other}
        case "propertyNames":
            return _excluded_name(part.at("propertyNames"), context)
        case "patternProperties":
            return _negated_patterns(part, context, steps)
    return _beyond(keyword, value)


def _all_or_none(parts: Sequence[Schema | None], join: Callable[[Sequence[Schema]], Schema]) -> Schema | None:
    return None if any(one is None for one in parts) else join(parts)


def _other_kinds(kinds: Sequence[str]) -> Schema | None:
    if "integer" in kinds and "number" not in kinds:
        return None
    others = [kind for kind in KINDS if kind not in kinds]
    return {"type": others} if others else False


def _other_values(values: Sequence[Any], context: Context) -> Schema | None:
    """All values but a few scalars."""
    if len(values) > _MAX_VALUES or any(isinstance(value, list | dict) for value in values):
        return None
    booleans = [value for value in values if isinstance(value, bool)]
    numbers = sorted({value for value in values if isinstance(value, int | float) and not isinstance(value, bool)})
    texts = [value for value in values if isinstance(value, str)]
    changed = {"null"} if None in values else set()
    changed |= {kind for kind, some in (("boolean", booleans), ("number", numbers), ("string", texts)) if some}
    options: list[Schema] = [{"type": [kind for kind in KINDS if kind not in changed]}]
    options += [{"const": not value} for value in booleans[:1] if len(set(booleans)) == 1]
    options += _between(numbers)
    if texts:
        option = _other_texts("|".join(f"^{_literal(text)}$" for text in texts), context)
        if option is None:
            return None
        options.append(option)
    return any_of(options)


def _between(numbers: Sequence[float]) -> list[Schema]:
    """The numbers between and beyond these, in ascending order."""
    if not numbers:
        return []
    inner = [{"type": "number", "exclusiveMinimum": one, "exclusiveMaximum": other} for one, other in pairwise(numbers)]
    lowest, highest = numbers[0], numbers[-1]
    return [
        {"type": "number", "exclusiveMaximum": lowest},
        *inner,
        {"type": "number", "exclusiveMinimum": highest},
    ]


def _other_texts(pattern: str, context: Context) -> Schema | None:
    if not context.may_complement():
        return None
    try:
        other = complement(pattern)
    except ValueError:
        return None
    return False if other is None else {"type": "string", "pattern": other}


def _literal(text: str) -> str:
    return "".join(rf"\u{{{ord(char):x}}}" for char in text)


def _absent(name: str) -> Schema:
    """Objects without a property."""
    return {"type": "object", "properties": {name: False}, OPEN: True}


def _negated_properties(part: Part, context: Context, steps: Iterator[int]) -> Schema | None:
    """Objects with a property that does not match."""
    options: list[Schema] = []
    for name, one in zip(part.schema["properties"], part.members("properties"), strict=True):
        other = _negated(one, context, steps)
        if other is None:
            return None
        options.append(_with(name, other))
    return any_of(options)


def _negated_patterns(part: Part, context: Context, steps: Iterator[int]) -> Schema | None:
    """Objects with a property of one of the patterns that does not match, if the names are few."""
    options: list[Schema] = []
    for pattern, one in zip(part.schema["patternProperties"], part.members("patternProperties"), strict=True):
        other = _negated(one, context, steps)
        names = listed(pattern) if other is not False else []
        if other is None or names is None:
            return None
        options += [_with(name, other) for name in names]
    return any_of(options)


def _with(name: str, value: Schema) -> Schema:
    """Objects with a property that matches a schema."""
    if value is False:
        return False
    return {"type": "object", "required": [name], "properties": {name: value}, OPEN: True}


def _excluded_name(names: Part, context: Context) -> Schema | None:
    """Objects with a name that `propertyNames` does not allow, if there are few such names."""
    if names.schema is False:
        return {"type": "object", "minProperties": 1}
    excluded = names.at("not") if names.has("not") and names.schema.keys() & MEANINGFUL <= {"not", "type"} else None
    while excluded is not None and excluded.has("$ref"):
        excluded = context.target(excluded)
    values = None if excluded is None else _texts_of(excluded)
    return None if values is None else any_of([{"type": "object", "required": [name]} for name in values])


def _texts_of(part: Part) -> list[str] | None:
    """The strings that match a schema, if a single keyword lists them."""
    keywords = part.schema.keys() & MEANINGFUL - {"type"} if isinstance(part.schema, dict) else set()
    if part.types() not in ([], ["string"]) or len(keywords) != 1:
        return None
    (keyword,) = keywords
    match keyword:
        case "const" | "enum":
            values = part.schema[keyword] if keyword == "enum" else [part.schema[keyword]]
            return [value for value in values if isinstance(value, str)] if len(values) <= MAX_LISTED else None
        case "pattern":
            return listed(part.schema[keyword])
    return None


def _negated_items(part: Part, context: Context, steps: Iterator[int]) -> Schema | None:
    """Arrays with an item that does not match."""
    first = part.members("prefixItems") or (part.members("items") if isinstance(part.schema.get("items"), list) else [])
    if not first:
        other = _negated(part.at("items"), context, steps)
        return other if other is None or other is False else {"type": "array", "contains": other}
    if part.has("additionalItems") or (part.has("prefixItems") and part.has("items")):
        return None
    others = [_negated(one, context, steps) for one in first]
    options = [
        False if other is False else {"type": "array", "prefixItems": [*[True] * index, other], "minItems": index + 1}
        for index, other in enumerate(others)
    ]
    return None if None in others else any_of(options)


def _negated_one_of(branches: Sequence[Part], context: Context, steps: Iterator[int]) -> Schema | None:
    """The values of none or of several alternatives."""
    if len(branches) > _MAX_BRANCHES:
        return None
    none = _all_or_none([_negated(one, context, steps) for one in branches], all_of)
    return None if none is None else any_of([none, *(all_of(pair) for pair in combinations(branches, 2))])


def _beyond(keyword: str, value: Any) -> Schema | None:
    """The values on the other side of a bound."""
    if keyword in _LOWEST:
        kind = _LOWEST[keyword]
        return {"type": kind, keyword.replace("min", "max"): value - 1} if value else False
    if keyword in _HIGHEST:
        return {"type": _HIGHEST[keyword], keyword.replace("max", "min"): value + 1}
    if keyword in _BEYOND and not isinstance(value, bool):
        return {"type": "number", _BEYOND[keyword]: value}
    return None
