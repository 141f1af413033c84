"""Schemas of fixed JSON values, and completion of schemas, in the keywords that client generators support.

JSON Schema allows any values in `enum`, and lists without `items`: generators skip every operation that uses them. An
object without keywords may have any properties: generators make it a type that has none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

Json = dict[str, Any]


def exactly(values: Sequence[Any]) -> Json:
    """A schema that allows exactly these JSON values. `enum` has only strings or only numbers.

    Raises ValueError for a list of more than one item.
    """
    options = list(_options(values))
    return options[0] if len(options) == 1 else {"anyOf": options}


def complete(schema: Any) -> None:
    """Add in place what generators require of lists, objects and `enum`, without a change of meaning."""
    for child in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        complete(child)
    if not isinstance(schema, dict):
        return
    if schema.get("type") == "array":
        schema.setdefault("items", {})
    if schema.get("type") == "object" and "properties" not in schema:
        schema.setdefault("additionalProperties", True)
    values = schema.get("enum")
    if isinstance(values, list) and all(isinstance(value, str) for value in values):
        schema.setdefault("type", "string")


def _options(values: Sequence[Any]) -> Iterator[Json]:
    """The schemas of the values: one for each scalar type, and one for each list and object."""
    if strings := [value for value in values if isinstance(value, str)]:
        yield {"type": "string", "enum": strings}
    if booleans := [value for value in values if isinstance(value, bool)]:
        yield {"type": "boolean"} if len(set(booleans)) == 2 else {"type": "boolean", "const": booleans[0]}
    if numbers := [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]:
        is_integer = all(isinstance(number, int) for number in numbers)
        yield {"type": "integer" if is_integer else "number", "enum": numbers}
    yield from (_list(value) for value in values if isinstance(value, list))
    yield from (_object(value) for value in values if isinstance(value, dict))
    if any(value is None for value in values):
        yield {"type": "null"}


def _list(value: Sequence[Any]) -> Json:
    if len(value) > 1:
        raise ValueError(f"{value!r}: only lists of up to one item have a schema that generators support.")
    items = exactly(value) if value else {}
    return {"type": "array", "items": items, "minItems": len(value), "maxItems": len(value)}


def _object(value: Json) -> Json:
    if not value:
        return {"type": "object", "maxProperties": 0, "additionalProperties": False}
    properties = {name: exactly([item]) for name, item in value.items()}
    return {"type": "object", "properties": properties, "required": list(value), "additionalProperties": False}
