"""Overlap of `oneOf` alternatives in the schema as sent, not as rewritten for the grammar.

The compiler compares the rewritten alternatives, whose objects are closed: one with `a` alone and one with `a` and `b`
are disjoint. If the schema as sent leaves the first one open, a value of the second matches both.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import permutations
from typing import Any, Final

from crossette.text.schema.document import Document
from crossette.text.schema.names import Names
from crossette.text.schema.part import OPEN, Part, uses_draft

_KINDS: Final = frozenset({"null", "boolean", "number", "string", "array", "object"})
_WITHOUT_CONST: Final = ("draft-04",)
_REFERENCES_ALONE: Final = ("draft-04", "draft-06", "draft-07")
"""Drafts that ignore the keywords next to a `$ref`."""
_MAX_COMPARED: Final = 20_000
"""Pairs of alternatives per schema: half a second in the worst case measured."""


@dataclass(slots=True)
class _Facts:
    """What all values of a schema as sent have in common."""

    kinds: frozenset[str] = _KINDS
    values: frozenset[str] | None = None
    """All values, as JSON; None if they are not listed, or have several JSON texts."""
    required: frozenset[str] = frozenset()
    properties: dict[str, list[Part]] = field(default_factory=dict)
    is_closed: bool = False
    """Whether the grammar allows only names that the schema, or an outer one, knows."""
    closed: list[frozenset[str]] = field(default_factory=list)
    """Sets of names that each contain all property names."""
    choices: list[list[Part]] = field(default_factory=list)
    """Lists of alternatives, of which one applies as well."""

    def add(self, part: Part, *, has_const: bool) -> None:
        """Add a schema that applies to the same value."""
        schema = part.schema
        if not isinstance(schema, dict):
            self.kinds = self.kinds if schema else frozenset()
            return
        if "type" in schema:
            kinds = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
            self.kinds &= {"number" if kind == "integer" else kind for kind in kinds}
        if "enum" in schema:
            self._add_values(schema["enum"])
        if "const" in schema and has_const:
            self._add_values([schema["const"]])
        self.required |= set(schema.get("required", ()))
        for name, one in zip(schema.get("properties", ()), part.members("properties"), strict=True):
            self.properties.setdefault(name, []).append(one)
        names_known = ("properties" in schema and OPEN not in schema) or "unevaluatedProperties" in schema
        self.is_closed |= schema.get("additionalProperties", not names_known) is False
        if schema.get("additionalProperties") is False and "patternProperties" not in schema:
            self.closed.append(frozenset(schema.get("properties", ())))

    def _add_values(self, values: list[Any]) -> None:
        self.kinds &= {_kind(value) for value in values}
        if not any(isinstance(value, list | dict) for value in values):
            self.values = frozenset(map(_canonical, values))


class Alternatives:
    """Compares the alternatives of one root schema."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._num_compared = 0
        self._facts_by_key: dict[str, _Facts] = {}
        self._disjoint_pairs: dict[tuple[str, str], bool] = {}

    def overlap(self, parent: Part, branches: Sequence[Part], names: Sequence[Names]) -> str | None:
        """Why a value that the grammar generates for one branch may match another; None if certainly none does.

        `parent` is the schema with the `oneOf`, and `names` are the names that are allowed in objects of each branch.
        Raises Unenforceable for a schema that refers to itself.
        """
        outer = list(self._conjuncts(parent))
        facts = [self._facts_of(branch, outer) for branch in branches]
        if self._have_discriminator(facts):
            return None
        self._num_compared += len(branches) ** 2
        if self._num_compared > _MAX_COMPARED:
            return "too many to compare. Distinguish them by a required 'const'."
        pairs = permutations(zip(facts, names, strict=True), 2)
        if all(self._are_disjoint(sent, other, other_names) for (sent, _), (other, other_names) in pairs):
            return None
        return (
            "its alternatives may overlap, or cannot be shown not to. Send 'anyOf', close them with "
            "'additionalProperties': false, or distinguish them by type or by a required 'const'."
        )

    def imply_types(self, parts: Sequence[Part], types: Sequence[str], *, all_apply: bool) -> bool:
        """Whether every value of these schemas certainly has one of the types: of each, or of all if they all apply."""
        allowed = frozenset(types)
        if "integer" in allowed and "number" not in allowed:
            return False
        implied = [self._facts(part).kinds <= allowed for part in parts]
        return any(implied) if all_apply else all(implied)

    def _have_discriminator(self, facts: Sequence[_Facts]) -> bool:
        """Whether a required property has another value in each: the common case, and fast to detect."""
        names = frozenset.intersection(*(frozenset(one.required & one.properties.keys()) for one in facts))
        return any(
            all(one.kinds <= {"object"} for one in facts)
            and _all_differ([self._facts(one.properties[name][0]).values for one in facts])
            for name in names
        ) or _all_differ([one.values for one in facts])

    def _are_disjoint(self, sent: _Facts, generated: _Facts, names: Names) -> bool:
        """Whether certainly no value that the grammar generates with these names matches the schema as sent."""
        kinds = sent.kinds & generated.kinds
        if not kinds:
            return True
        if sent.values is not None and generated.values is not None and not sent.values & generated.values:
            return True
        for choice in sent.choices:
            if all(self._are_disjoint(self._facts(one), generated, names) for one in choice):
                return True
        for choice in generated.choices:
            if all(self._are_disjoint(sent, self._facts(one), names) for one in choice):
                return True
        if kinds != {"object"}:
            return False
        if (generated.is_closed and names is not None and sent.required - names) or any(
            generated.required - known for known in sent.closed
        ):
            return True
        return any(
            self._parts_are_disjoint(one, other)
            for name in sent.required | generated.required
            for one in sent.properties.get(name, ())
            for other in generated.properties.get(name, ())
        )

    def _parts_are_disjoint(self, sent: Part, generated: Part) -> bool:
        pair = sent.key, generated.key
        if pair not in self._disjoint_pairs:
            self._disjoint_pairs[pair] = False  # a reference back to this pair proves nothing
            self._disjoint_pairs[pair] = self._are_disjoint(
                self._facts(sent), self._facts(generated), self._document.names_of(generated)
            )
        return self._disjoint_pairs[pair]

    # --- facts ---

    def _facts(self, part: Part) -> _Facts:
        if part.key not in self._facts_by_key:
            self._facts_by_key[part.key] = self._facts_of(part)
        return self._facts_by_key[part.key]

    def _facts_of(self, part: Part, outer: Sequence[Part] = ()) -> _Facts:
        """The facts of a schema and of the outer ones. The alternatives of those are left out: it is one of them."""
        facts = _Facts()
        for one in self._conjuncts(part):
            facts.add(one, has_const=not self._is_of_draft(one, _WITHOUT_CONST))
            facts.choices += [one.members(keyword) for keyword in ("anyOf", "oneOf") if one.has(keyword)]
        is_closed = facts.is_closed
        for one in outer:
            facts.add(one, has_const=not self._is_of_draft(one, _WITHOUT_CONST))
        facts.is_closed = is_closed  # the outer schemas know the names of all alternatives
        return facts

    def _conjuncts(self, part: Part) -> Iterator[Part]:
        """All schemas that apply to a value of this one."""
        self._document.names_of(part)
        part = self._document.simple(part)
        if not (part.has("$ref") and self._is_of_draft(part, _REFERENCES_ALONE)):
            yield part
            for one in part.members("allOf"):
                yield from self._conjuncts(one)
        target = self._document.target(part) if part.has("$ref") else None
        if target is not None:
            yield from self._conjuncts(target)

    def _is_of_draft(self, part: Part, drafts: Sequence[str]) -> bool:
        return any(uses_draft(one, drafts) for one in self._document.path_to(part.pointer))


def _all_differ(values: Sequence[frozenset[str] | None]) -> bool:
    known = [some for some in values if some is not None]
    return len(known) == len(values) and sum(map(len, known)) == len(frozenset().union(*known))


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    kinds = {type(None): "null", int: "number", float: "number", str: "string", list: "array", dict: "object"}
    return kinds[type(value)]


def _canonical(value: Any) -> str:
    return json.dumps(int(value) if isinstance(value, float) and value.is_integer() else value)
