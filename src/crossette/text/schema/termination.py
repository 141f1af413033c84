"""Schemas whose every value must hold another one of its kind: no text of them has an end."""

from __future__ import annotations

from typing import Any

from crossette.text.schema.keywords import Schema, Unenforceable


def check_ends(root: Schema, made: dict[str, Schema]) -> None:
    """Refuse a schema whose every value holds another one of its kind."""
    finite: set[str] = set()
    while found := {name for name, schema in made.items() if name not in finite and _ends(schema, finite)}:
        finite |= found
    for schema in (root, *made.values()):
        if not _ends(schema, finite):
            place = schema["$comment"]
            raise Unenforceable(f"the schema at '{place}' has no end: each of its values needs another one inside it")


def _ends(schema: Schema, finite: set[str]) -> bool:
    """Whether a value can be complete, given the names of `$defs` that have one that is."""
    if isinstance(schema, bool) or "enum" in schema or "const" in schema:
        return True
    if "$ref" in schema and schema["$ref"].removeprefix("#/$defs/") not in finite:
        return False
    groups = [schema[keyword] for keyword in ("anyOf", "oneOf") if keyword in schema]
    if not all(any(_ends(one, finite) for one in group) for group in groups):
        return False
    if not all(_ends(one, finite) for one in schema.get("allOf", ())):
        return False
    types = schema.get("type", ["null"])
    types = [types] if isinstance(types, str) else types
    return any(_ends_as(kind, schema, finite) for kind in types)


def _ends_as(kind: str, schema: dict[str, Any], finite: set[str]) -> bool:
    if kind == "array":
        first, num = schema.get("prefixItems", []), schema.get("minItems", 0)
        needed = [*first[:num], *([schema.get("items", True)] if num > len(first) else [])]
        return all(_ends(one, finite) for one in needed)
    if kind == "object":
        named, rest = schema.get("properties", {}), schema.get("additionalProperties", True)
        return all(_ends(named.get(name, rest), finite) for name in schema.get("required", ()))
    return True
