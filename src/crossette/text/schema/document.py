"""A JSON schema as sent: its references, the simple form of its parts, and the names that they know."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from crossette.text.schema.keywords import ANNOTATIONS, IN_PLACE
from crossette.text.schema.part import OPEN, Names, Part, Schema, uses_draft
from crossette.text.schema.references import References
from crossette.text.schema.simplify import simplified

MAX_DEPTH = 50
_CONDITIONAL = ("if", "then", "else", "dependentSchemas", "dependencies")
"""Keywords with schemas of the same value that the grammar may not enforce."""

_MAX_PAIRS = 6
_MAX_COMPLEMENTS = 200
_IN_PLACE_STEPS = re.compile(
    r"(?:/(?:allOf|anyOf|oneOf)/\d+|/(?:if|then|else|not)|/(?:dependencies|dependentSchemas)/[^/]*)+$"
)
_TO_4, _TO_6, _TO_7 = ("draft-04",), ("draft-04", "draft-06"), ("draft-04", "draft-06", "draft-07")
_WITHOUT = {
    **dict.fromkeys(("const", "contains", "propertyNames"), _TO_4),
    **dict.fromkeys(("if", "then", "else"), _TO_6),
    **dict.fromkeys(("dependentRequired", "dependentSchemas", "unevaluatedProperties", "unevaluatedItems"), _TO_7),
    **dict.fromkeys(("minContains", "maxContains"), _TO_7),
    "prefixItems": (*_TO_7, "2019-09"),
    "$ref": _TO_7,  # next to which they ignore other keywords
}
"""Keywords, and the drafts that do not know them."""


class Document:
    """A root schema. Its methods raise Unenforceable for a schema that refers to itself."""

    def __init__(self, schema: Schema) -> None:
        self.root = Part(schema, "")
        self._references = References(self.root)
        self._names: dict[str, Names] = {}
        self._simple: dict[str, Part] = {}
        self._num_complements = 0
        self._num_branches: dict[str, int] = {}

    @property
    def has_unevaluated(self) -> bool:
        """Whether a schema restricts unevaluated properties."""
        return self._references.has_unevaluated

    def path_to(self, pointer: str) -> Iterator[Part]:
        """Yield the schemas and values on the path of a pointer, from the root on."""
        return self._references.path_to(pointer)

    def target(self, part: Part) -> Part | None:
        """The schema that its `$ref` refers to; None if the root schema does not contain it."""
        return self._references.target(part)

    def ignores(self, part: Part, keyword: str) -> bool:
        """Whether a keyword has no meaning in the draft of `$schema`."""
        drafts = _WITHOUT.get(keyword, ())
        if keyword == "$ref" and part.schema.keys() - ANNOTATIONS == {"$ref"}:
            return False
        return any(uses_draft(one, drafts) for one in self.path_to(part.pointer))

    def may_branch(self, part: Part) -> bool:
        """Whether the value of a part may have one more pair of alternatives; if so, it is counted.

        The compiler multiplies the alternatives of one value.
        """
        value = _IN_PLACE_STEPS.sub("", part.pointer)
        self._num_branches[value] = self._num_branches.get(value, 0) + 1
        return self._num_branches[value] <= _MAX_PAIRS

    def may_complement(self) -> bool:
        """Whether one more pattern may be complemented; if so, it is counted. Each may take 20 ms."""
        self._num_complements += 1
        return self._num_complements <= _MAX_COMPLEMENTS

    def simple(self, part: Part) -> Part:
        """The same schema, with keywords replaced by others that are easier to enforce."""
        if not isinstance(part.schema, dict):
            return part
        if part.key not in self._simple:
            self._simple[part.key] = simplified(part, self)
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
        names = _own_names(simple.schema, is_required_known=not self.has_unevaluated)
        for one in self._in_place(simple, without):
            names = union(names, self._gather(one, (*path, part.key), ""))
        for one in _conditional(simple) if not self.has_unevaluated else ():
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


def _own_names(schema: dict[str, Any], *, is_required_known: bool) -> Names:
    """The names of properties that are listed, and perhaps of those that are required."""
    if OPEN in schema:
        return frozenset(schema["properties"])
    if "patternProperties" in schema or schema.get("additionalProperties", False) is not False:
        return None
    if not is_required_known:
        return frozenset(schema.get("properties", ()))
    lists = [schema.get("required", ()), *schema.get("dependentRequired", {}).values()]
    lists += [one for one in schema.get("dependencies", {}).values() if isinstance(one, list)]
    return frozenset(schema.get("properties", ())).union(*lists)


def _conditional(part: Part) -> Iterator[Part]:
    for keyword in _CONDITIONAL:
        if part.has(keyword):
            yield from part.members(keyword) if keyword.startswith("depend") else [part.at(keyword)]


def union(one: Names, other: Names) -> Names:
    return None if one is None or other is None else one | other
