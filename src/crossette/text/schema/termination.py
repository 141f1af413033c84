"""Detection of recursive schemas without a finite value."""

from __future__ import annotations

from typing import Any

from crossette.text.schema.part import Schema, Unenforceable


def check_terminates(root: Schema, definitions: dict[str, Schema]) -> None:
    """Raise Unenforceable for a schema without a finite value: each of its values contains another one."""
    finite: set[str] = set()
    while new := {name for name, schema in definitions.items() if name not in finite and _terminates(schema, finite)}:
        finite |= new
    for schema in (root, *definitions.values()):
        if not _terminates(schema, finite):
            pointer = schema["$comment"]
            raise Unenforceable(
                f"the schema at '{pointer}' never terminates: each of its values requires another one inside it."
            )


def _terminates(schema: Schema, finite: set[str]) -> bool:
    """Whether a schema has a finite value, given the names of `$defs` that have one."""
    if isinstance(schema, bool) or "enum" in schema or "const" in schema:
        return True
    if "$ref" in schema and schema["$ref"].removeprefix("#/$defs/") not in finite:
        return False
    groups = [schema[keyword] for keyword in ("anyOf", "oneOf") if keyword in schema]
    if not all(any(_terminates(one, finite) for one in group) for group in groups):
        return False
    if not all(_terminates(one, finite) for one in schema.get("allOf", ())):
        return False
    types = schema.get("type", ["null"])
    types = [types] if isinstance(types, str) else types
    return any(_terminates_as(kind, schema, finite) for kind in types)


def _terminates_as(kind: str, schema: dict[str, Any], finite: set[str]) -> bool:
    if kind == "array":
        first, num = schema.get("prefixItems", []), schema.get("minItems", 0)
        items = [*first[:num], *([schema.get("items", True)] if num > len(first) else [])]
        return all(_terminates(one, finite) for one in items)
    if kind == "object":
        named, rest = schema.get("properties", {}), schema.get("additionalProperties", True)
        return all(_terminates(named.get(name, rest), finite) for name in schema.get("required", ()))
    return True
