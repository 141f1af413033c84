"""Keywords that other keywords replace exactly: `not`, conditions, and some keywords of arrays."""

from __future__ import annotations

from itertools import permutations
from typing import Any, Final

from crossette.text.schema.negation import all_of, any_of, negated
from crossette.text.schema.part import OPEN, Context, Part, Schema

_MAX_UNIQUE: Final = 4
"""The most values of unique items: their arrangements are listed."""
_MAX_POSITIONS: Final = 8
"""The most positions of the item that an array must contain. Real schemas have it among the first."""


def simplified(part: Part, context: Context) -> Part:
    """The same schema with fewer kinds of keywords. Keywords that have no equivalent stay."""
    schema = dict(part.schema)
    if schema.keys().isdisjoint(_REPLACED):
        return part
    _add_null(schema)
    conditions = _contains(part, schema, context)
    if not context.has_unevaluated:
        conditions += _not(part, schema, context) + _if(part, schema, context) + _dependencies(part, schema, context)
    _list_unique(part, schema, context)
    condition = all_of(conditions)
    if condition is False:
        return Part(False, part.pointer, part.variant)
    if condition is not True:
        schema["allOf"] = [*part.members("allOf"), *(one for one in conditions if one is not True)]
    return Part(schema, part.pointer, part.variant)


_REPLACED: Final = {
    *("nullable", "not", "if", "dependencies", "dependentRequired", "dependentSchemas", "contains", "uniqueItems"),
}


def _add_null(schema: dict[str, Any]) -> None:
    """`nullable` of OpenAPI 3.0, which belongs to `type`."""
    if schema.get("nullable") is not True or "type" not in schema:
        return
    kinds = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
    schema["type"] = kinds if "null" in kinds else [*kinds, "null"]
    if "enum" in schema and None not in schema["enum"]:
        schema["enum"] = [*schema["enum"], None]


def _not(part: Part, schema: dict[str, Any], context: Context) -> list[Schema]:
    if "not" not in schema:
        return []
    inner = part.at("not")
    other = negated(inner, context)
    if other is None:
        return []
    del schema["not"]
    return [_derived(inner, other, "not")]


def _if(part: Part, schema: dict[str, Any], context: Context) -> list[Schema]:
    """Replace `if` by the cases that it distinguishes."""
    if "if" not in schema or not schema.keys() & {"then", "else"}:
        return []
    condition = part.at("if")
    other = negated(condition, context)
    if other is None or not context.may_branch(part):
        return []
    del schema["if"]
    then = part.at("then") if "then" in schema else True
    otherwise = part.at("else") if "else" in schema else True
    if otherwise is True:
        return [_derived(condition, any_of([other, then]), "if")]
    return [_derived(condition, any_of([all_of([condition, then]), all_of([other, otherwise])]), "if")]


def _dependencies(part: Part, schema: dict[str, Any], context: Context) -> list[Schema]:
    """Replace what a property requires by two cases: an object without the property, or with what it requires."""
    conditions: list[Schema] = []
    for keyword in ("dependencies", "dependentRequired", "dependentSchemas"):
        kept = {}
        for name, value in schema.get(keyword, {}).items():
            if not context.may_branch(part):
                kept[name] = value
                continue
            needed = {"required": [name, *value]} if isinstance(value, list) else _with(name, part.at(keyword, name))
            absent = {"properties": {name: False}, OPEN: True}
            cases = part.at(keyword).derived({"anyOf": [absent, needed]}, name)
            conditions += [cases] if value != [] else []
        if keyword in schema:
            schema[keyword] = kept
    return conditions


def _with(name: str, needed: Part) -> Schema:
    """Objects with a property that match a schema."""
    return all_of([{"required": [name]}, needed])


def _contains(part: Part, schema: dict[str, Any], context: Context) -> list[Schema]:
    """Replace an item that an array must contain by its position, which is one of the first.

    No keyword says that it follows any number of other items.
    """
    is_simple = {"prefixItems", "maxContains"}.isdisjoint(schema) and not isinstance(schema.get("items"), list)
    if "contains" not in schema or not is_simple or schema.get("minContains", 1) != 1:
        return []
    num_positions = int(min(schema.get("maxItems", _MAX_POSITIONS), _MAX_POSITIONS))
    is_unknown = not part.variant and context.ignores(part, "contains")  # a derived keyword has the newest meaning
    if is_unknown or not context.may_branch(part, num_positions):
        return []
    del schema["contains"]
    inner = part.at("contains")
    cases: list[Schema] = [
        {"prefixItems": [*[True] * index, inner], "minItems": index + 1} for index in range(num_positions)
    ]
    if not cases:  # no array has such an item, and all other values match
        cases = [{"type": ["null", "boolean", "number", "string", "object"]}]
    return [_derived(inner, any_of(cases), "contains")]


def _list_unique(part: Part, schema: dict[str, Any], context: Context) -> None:
    """Replace unique items of few values by the list of all arrays."""
    if schema.get("uniqueItems") is not True or part.types() != ["array"]:
        return
    if schema.get("maxItems", 2) < 2:
        del schema["uniqueItems"]
        return
    values = _few_values(part, context)
    if values is None or schema.keys() & {"enum", "const", "prefixItems", "contains"}:
        return
    del schema["uniqueItems"]
    sizes = range(int(schema.get("minItems", 0)), min(len(values), int(schema.get("maxItems", len(values)))) + 1)
    schema["enum"] = [list(some) for size in sizes for some in permutations(values, size)]


def _few_values(part: Part, context: Context) -> list[Any] | None:
    """The values of the items, if they are few scalars."""
    items = part.at("items") if part.has("items") else None
    while items is not None and items.has("$ref"):
        items = context.target(items)
    if items is None or not isinstance(items.schema, dict):
        return None
    values = [False, True] if items.schema.get("type") == "boolean" else items.schema.get("enum", [None] * 9)
    is_few = len(values) <= _MAX_UNIQUE and all(isinstance(value, str | bool) for value in values)
    return list(dict.fromkeys(values)) if is_few else None


def _derived(part: Part, schema: Schema, name: str) -> Schema:
    return schema if isinstance(schema, bool | Part) else part.derived(schema, name)
