"""A JSON schema as sent: its references, the simple form of its parts, and the names that they know."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from crossette.text.schema.keywords import IN_PLACE
from crossette.text.schema.part import OPEN, Names, Part, Schema
from crossette.text.schema.references import References
from crossette.text.schema.simplify import simplified

MAX_DEPTH = 50
_CONDITIONAL = ("if", "then", "else", "dependentSchemas", "dependencies")
"""Keywords with schemas of the same value that the grammar may not enforce."""


class Document:
    """A root schema. Its methods raise Unenforceable for a schema that refers to itself."""

    def __init__(self, schema: Schema) -> None:
        self.root = Part(schema, "")
        self._references = References(self.root)
        self._names: dict[str, Names] = {}
        self._simple: dict[str, Part] = {}

    def path_to(self, pointer: str) -> Iterator[Part]:
        """Yield the schemas and values on the path of a pointer, from the root on."""
        return self._references.path_to(pointer)

    def target(self, part: Part) -> Part | None:
        """The schema that its `$ref` refers to; None if the root schema does not contain it."""
        return self._references.target(part)

    def simple(self, part: Part) -> Part:
        """The same schema, with keywords replaced by others that are easier to enforce."""
        if not isinstance(part.schema, dict):
            return part
        if part.key not in self._simple:
            self._simple[part.key] = simplified(part, self.target)
        return self._simple[part.key]

    def names_of(self, part: Part, *, without: str = "") -> Names:
        """The names that a schema and all schemas of the same value know; `without` those of a keyword."""
        if without:
            return self._gather(part, (), without)
        if part.key not in self._names:
            self._names[part.key] = self._gather(part, (), "")
        return self._names[part.key]

    def _gather(self, part: Part, path: tuple[str, ...], without: str) -> Names:
        if not isinstance(part.schema, dict):
            return frozenset()
        if part.key in path:
            raise part.error("$ref", "it refers to itself.")
        if len(path) > MAX_DEPTH:
            raise part.error("$ref", f"it is a chain of more than {MAX_DEPTH} references.")
        if not without and part.key in self._names:
            return self._names[part.key]
        simple = self.simple(part)
        if not isinstance(simple.schema, dict):
            return frozenset()
        names = _own_names(simple.schema)
        for one in self._in_place(simple, without):
            names = union(names, self._gather(one, (*path, part.key), ""))
        for one in _conditional(simple):
            names = union(names, self._gather(one, (*path, part.key), "") or frozenset())
        if not without:
            self._names[part.key] = names
        return names

    def _in_place(self, part: Part, without: str) -> Iterator[Part]:
        for keyword in IN_PLACE[:3]:
            if keyword != without:
                yield from part.members(keyword)
        target = self.target(part) if part.has("$ref") else None
        if target is not None:
            yield target


def _own_names(schema: dict[str, Any]) -> Names:
    """The names of properties that are listed or required."""
    if OPEN in schema:
        return frozenset(schema["properties"])
    if "patternProperties" in schema or schema.get("additionalProperties", False) is not False:
        return None
    lists = [schema.get("required", ()), *schema.get("dependentRequired", {}).values()]
    lists += [one for one in schema.get("dependencies", {}).values() if isinstance(one, list)]
    return frozenset(schema.get("properties", ())).union(*lists)


def _conditional(part: Part) -> Iterator[Part]:
    for keyword in _CONDITIONAL:
        if part.has(keyword):
            yield from part.members(keyword) if keyword.startswith("depend") else [part.at(keyword)]


def union(one: Names, other: Names) -> Names:
    return None if one is None or other is None else one | other
