"""A JSON schema as sent: its references, the simple form of its parts, and the names that they know."""

from __future__ import annotations

import re
from collections.abc import Iterator

from crossette.text.schema.keywords import ANNOTATIONS, IN_PLACE
from crossette.text.schema.names import NO_NAMES, Names, conditional, own_names, union
from crossette.text.schema.part import Part, Schema, uses_draft
from crossette.text.schema.references import References
from crossette.text.schema.simplify import simplified

MAX_DEPTH = 50
_MAX_BRANCHES = 2**6
"""The most alternatives of one value that follow from keywords."""
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

    def may_branch(self, part: Part, num_alternatives: int = 2) -> bool:
        """Whether the value of a part may have so many more alternatives; if so, they are counted.

        The compiler multiplies the alternatives of one value.
        """
        value = _IN_PLACE_STEPS.sub("", part.pointer)
        num_branches = self._num_branches.get(value, 1) * num_alternatives
        if num_branches <= _MAX_BRANCHES:
            self._num_branches[value] = num_branches
        return num_branches <= _MAX_BRANCHES

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
            return NO_NAMES
        if part.key in path:
            raise part.error("$ref", "it refers to itself.")
        if len(path) > MAX_DEPTH:
            raise part.error("$ref", f"it is a chain of more than {MAX_DEPTH} references.")
        if not without and part.key in self._names:
            return self._names[part.key]
        simple = self.simple(part)
        if not isinstance(simple.schema, dict):
            return NO_NAMES
        names: Names = NO_NAMES
        own = own_names(simple.schema, is_required_known=not self.has_unevaluated)
        for keyword in simple.schema:
            names = union(names, own) if keyword == "properties" else names
            inner: Names = NO_NAMES
            for one in self._in_place(simple, keyword) if keyword != without else ():
                found = self._gather(one, (*path, part.key), "")
                inner = union(inner, found, are_alternatives=keyword in ("anyOf", "oneOf"))
            names = union(names, inner)
        names = union(names, own)
        for one in conditional(simple) if not self.has_unevaluated else ():
            names = union(names, self._gather(one, (*path, part.key), "") or NO_NAMES)
        if not without:
            self._names[part.key] = names
        return names

    def _in_place(self, part: Part, keyword: str) -> list[Part]:
        """The further schemas of the same value in a keyword."""
        if keyword == "$ref":
            target = self.target(part)
            return [] if target is None else [target]
        return part.members(keyword) if keyword in IN_PLACE else []
