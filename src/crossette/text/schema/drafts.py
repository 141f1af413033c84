"""Schemas that mix drafts, or OpenAPI, as schemas of one draft: validators know the keywords of a single one."""

from __future__ import annotations

import re
from typing import Any, Final

from crossette.text.schema.part import escaped

_ANNOTATIONS: Final = ("contentEncoding", "contentMediaType")
"""Annotations that validators of drafts 6 and 7 enforce."""
_VALUES: Final = ("enum", "const", "default", "examples", "example", "required")
"""Keywords whose values are no schemas."""
_NAMED: Final = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas", "dependencies")
"""Keywords whose values have names of their own, and schemas as values."""
_LISTS_ARE_TUPLES: Final = ("draft-04", "draft-06", "draft-07", "2019-09")
"""Drafts in which `items` may be a list."""

_TUPLE_ITEM: Final = re.compile(r"(?<!/properties)(?<!/definitions)(?<!/\$defs)/items/(\d+)(?=/|$)")


def of_draft_3(schema: Any) -> tuple[Any, list[str]]:
    """A schema with the keywords of draft 3 that newer drafts contradict as their own, and a note about each.

    A boolean `required` belongs to the property that has it, and the type `any` is none.
    """
    notes: list[str] = []
    return _from_draft_3(schema, "", notes), notes


def _from_draft_3(schema: Any, pointer: str, notes: list[str]) -> Any:
    if isinstance(schema, list):
        return [_from_draft_3(one, f"{pointer}/{index}", notes) for index, one in enumerate(schema)]
    if not isinstance(schema, dict):
        return schema
    out: dict[str, Any] = {}
    required = [name for name, one in _members(schema.get("properties")) if one.get("required") is True]
    for keyword, value in schema.items():
        at = f"{pointer}/{escaped(keyword)}"
        if keyword == "required" and isinstance(value, bool):
            notes.append(f"'{at}' is a boolean, as in draft 3. Send the names of required properties, as a list.")
        elif keyword == "type" and value == "any":
            notes.append(f"'{at}' is 'any', as in draft 3. Omit it.")
        elif keyword in _NAMED and isinstance(value, dict):
            out[keyword] = {name: _from_draft_3(one, f"{at}/{escaped(name)}", notes) for name, one in value.items()}
        else:
            out[keyword] = value if keyword in _VALUES else _from_draft_3(value, at, notes)
    if required and isinstance(out.get("required", []), list):
        out["required"] = list(dict.fromkeys([*out.get("required", []), *required]))
    return out


def _members(properties: Any) -> list[tuple[str, dict[str, Any]]]:
    found = properties.items() if isinstance(properties, dict) else ()
    return [(name, one) for name, one in found if isinstance(one, dict)]


def of_one_draft(schema: Any) -> Any:
    """A schema that matches the same values, in the draft of its `$schema`, or else in draft 2020-12."""
    declared = str(schema.get("$schema", "")) if isinstance(schema, dict) else ""
    return _converted(schema, declared)


def _converted(schema: Any, declared: str) -> Any:
    if isinstance(schema, list):
        return [_converted(one, declared) for one in schema]
    if not isinstance(schema, dict):
        return schema
    out: dict[str, Any] = {}
    for keyword, value in schema.items():
        if keyword in _ANNOTATIONS:
            continue
        if keyword in _NAMED and isinstance(value, dict):
            out[keyword] = {name: _converted(one, declared) for name, one in value.items()}
        elif keyword == "$ref" and isinstance(value, str) and not _are_tuples(declared):
            out[keyword] = _TUPLE_ITEM.sub(r"/prefixItems/\1", value)
        else:
            out[keyword] = value if keyword in _VALUES else _converted(value, declared)
    _allow_null(out)
    if not _are_tuples(declared):
        _name_tuples(out)
    if "draft-04" not in declared:
        _move_bounds(out)
    return out


def _are_tuples(declared: str) -> bool:
    return any(draft in declared for draft in _LISTS_ARE_TUPLES)


def _allow_null(schema: dict[str, Any]) -> None:
    """`nullable` of OpenAPI 3.0."""
    kinds = schema.get("type")
    if schema.get("nullable") is not True or kinds is None:
        return
    kinds = kinds if isinstance(kinds, list) else [kinds]
    schema["type"] = kinds if "null" in kinds else [*kinds, "null"]
    if isinstance(schema.get("enum"), list) and None not in schema["enum"]:
        schema["enum"] = [*schema["enum"], None]


def _name_tuples(schema: dict[str, Any]) -> None:
    """`items` as a list, of drafts up to 2019-09."""
    if not isinstance(schema.get("items"), list):
        return
    first = schema.pop("items")
    schema.setdefault("prefixItems", first)
    if "additionalItems" in schema:
        schema["items"] = schema.pop("additionalItems")


def _move_bounds(schema: dict[str, Any]) -> None:
    """Exclusive bounds as booleans, of draft 4."""
    for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        is_exclusive = schema.get(exclusive)
        if isinstance(is_exclusive, bool):
            del schema[exclusive]
            if is_exclusive and bound in schema:
                schema[exclusive] = schema.pop(bound)
