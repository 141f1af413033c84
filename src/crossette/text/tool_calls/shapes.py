"""An enforced schema of an object as the sets of named properties that it allows, for keyword arguments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Final

from crossette.text.schema.compiles import fault_of_schema

SCHEMA_WIDE: Final = ("$defs", "x-guidance")
"""Keywords of an enforced schema that apply to all its parts."""
_MAX_SHAPES: Final = 64
_PROPERTIES: Final = frozenset(("type", "properties", "required", "additionalProperties"))
_KEYWORDS: Final = _PROPERTIES | {"$comment", "$ref", "allOf", "anyOf", *SCHEMA_WIDE}


@dataclass(frozen=True, slots=True)
class Shape:
    """The properties of an object, with their schemas, and those that it must have."""

    properties: Mapping[str, Any] = field(default_factory=dict)
    required: frozenset[str] = frozenset()
    is_closed: bool = False
    """Whether it has no other properties."""

    def combined(self, other: Shape) -> Shape:
        """The objects of both shapes."""
        names = dict.fromkeys([*self.properties, *other.properties])
        properties = {name: _both(self._value(name), other._value(name)) for name in names}
        return Shape(properties, self.required | other.required, self.is_closed or other.is_closed)

    def _value(self, name: str) -> Any:
        return self.properties.get(name, not self.is_closed)


def shapes_of(schema: Mapping[str, Any]) -> list[Shape] | None:
    """All shapes of an enforced schema, without those of no object; None if other keywords restrict it."""
    try:
        shapes = list(_shapes(schema, schema))
    except _Inexpressible:
        return None
    if not all(shape.is_closed for shape in shapes):
        return None
    return [shape for one in shapes if (shape := _possible(one, schema)) is not None]


class _Inexpressible(Exception):
    """The schema is more than named properties, or has too many shapes."""


def _shapes(schema: Any, root: Mapping[str, Any], depth: int = 0) -> Iterator[Shape]:
    if isinstance(schema, bool):
        yield from [Shape()] if schema else []
        return
    if schema.keys() - _KEYWORDS or depth > _MAX_SHAPES or schema.get("additionalProperties", False) is not False:
        raise _Inexpressible
    if "object" not in schema.get("type", "object"):
        return
    own = Shape(
        schema.get("properties", {}), frozenset(schema.get("required", ())), is_closed="additionalProperties" in schema
    )
    factors = [[own], *([*_shapes(one, root, depth + 1)] for one in schema.get("allOf", ()))]
    if "$ref" in schema:
        target = root["$defs"][schema["$ref"].removeprefix("#/$defs/")]
        factors.append([*_shapes(target, root, depth + 1)])
    if "anyOf" in schema:
        factors.append([shape for one in schema["anyOf"] for shape in _shapes(one, root, depth + 1)])
    for index, (first, *others) in enumerate(product(*factors)):
        if index >= _MAX_SHAPES:
            raise _Inexpressible
        for other in others:
            first = first.combined(other)
        yield first


def _both(one: Any, other: Any) -> Any:
    if one is False or other is False:
        return False
    if one is True or other is True or one == other:
        return other if one is True else one
    return {"allOf": [one, other]}


def _possible(shape: Shape, root: Mapping[str, Any]) -> Shape | None:
    """The shape without properties of no value; None if it requires one of them."""
    wide = {key: root[key] for key in SCHEMA_WIDE if key in root}
    properties = {
        name: one
        for name, one in shape.properties.items()
        if one is not False and not (isinstance(one, dict) and "allOf" in one and fault_of_schema({**one, **wide}))
    }
    if shape.required - properties.keys():
        return None
    return Shape(properties, shape.required, is_closed=True)
