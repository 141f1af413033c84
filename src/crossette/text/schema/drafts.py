"""Schemas that mix drafts, or OpenAPI, as schemas of one draft: validators know the keywords of a single one."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
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


def of_known_draft(schema: Any) -> tuple[Any, list[str]]:
    """A schema in a draft that validators know, and a note about each change of its meaning.

    A boolean `required`, of draft 3, belongs to the property that has it, and the type `any` is none. An unknown
    `$schema` is dropped.
    """
    notes: list[str] = []
    declared = schema.get("$schema") if isinstance(schema, dict) else None
    is_draft_3 = isinstance(declared, str) and "draft-03" in declared
    converted = _from_draft_3(schema, "", notes, _OF_DRAFT_3 if is_draft_3 else {})
    if isinstance(declared, str) and not _KNOWN_DRAFT.search(declared):
        notes.append(f"'/$schema' is '{declared[:80]}': the schema is read as one of draft 2020-12.")
        del converted["$schema"]
    return converted, notes


_KNOWN_DRAFT: Final = re.compile(r"^https?://json-schema\.org/(draft-0[467]|draft/2019-09|draft/2020-12)/schema#?$")
_OF_DRAFT_3: Final[dict[str, Callable[[Any], tuple[str, Any]]]] = {
    "divisibleBy": lambda value: ("multipleOf", value),
    "extends": lambda value: ("allOf", value if isinstance(value, list) else [value]),
    "disallow": lambda value: ("not", {"type": value}),
    "dependencies": lambda value: ("dependencies", _lists(value)),
}
"""Keywords of draft 3 under their later names."""


def _lists(dependencies: Any) -> Any:
    if not isinstance(dependencies, dict):
        return dependencies
    return {name: [one] if isinstance(one, str) else one for name, one in dependencies.items()}


def _from_draft_3(
    schema: Any, pointer: str, notes: list[str], renamed: Mapping[str, Callable[[Any], tuple[str, Any]]]
) -> Any:
    if isinstance(schema, list):
        return [_from_draft_3(one, f"{pointer}/{index}", notes, renamed) for index, one in enumerate(schema)]
    if not isinstance(schema, dict):
        return schema
    out: dict[str, Any] = {}
    required = [name for name, one in _members(schema.get("properties")) if one.get("required") is True]
    for keyword, value in schema.items():
        if keyword in renamed:
            keyword, value = renamed[keyword](value)
        at = f"{pointer}/{escaped(keyword)}"
        if keyword == "required" and isinstance(value, bool):
            notes.append(f"'{at}' is a boolean, as in draft 3. Send the names of required properties, as a list.")
        elif keyword == "type" and value == "any":
            notes.append(f"'{at}' is 'any', as in draft 3. Omit it.")
        elif keyword in _NAMED and isinstance(value, dict):
            out[keyword] = {
                name: _from_draft_3(one, f"{at}/{escaped(name)}", notes, renamed) for name, one in value.items()
            }
        else:
            out[keyword] = value if keyword in _VALUES else _from_draft_3(value, at, notes, renamed)
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
