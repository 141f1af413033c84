"""Whether alternatives of a `oneOf` that are apart as the grammar writes them are so as they were sent, too.

The grammar's compiler compares them as it is told of them, and there objects are closed: one with `a` alone and one
with `a` and `b` are apart. Where the request left the first one open, a value of the second is one of both.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import permutations
from typing import Any, Final

from crossette.text.schema.keywords import Names, Part, names_draft

_KINDS: Final = frozenset({"null", "boolean", "number", "string", "array", "object"})
_WITHOUT_CONST: Final = ("draft-04",)
_REFERENCES_ALONE: Final = ("draft-04", "draft-06", "draft-07")
"""Drafts in which nothing is asked by what stands beside a `$ref`."""
_MAX_COMPARED: Final = 20_000
"""Pairs of alternatives in one document: half a second at the worst measured."""


@dataclass(slots=True)
class _Facts:
    """What the values of a schema keep to, as it was sent."""

    kinds: frozenset[str] = _KINDS
    values: frozenset[str] | None = None
    """All that there are, as JSON; None where they are not listed, or may be spelled in several ways."""
    required: frozenset[str] = frozenset()
    properties: dict[str, list[Part]] = field(default_factory=dict)
    is_closed: bool = False
    """Whether the grammar writes no names but those that the schema knows, and those around it."""
    closed: list[frozenset[str]] = field(default_factory=list)
    """Sets of names that no property's name is outside of."""
    choices: list[list[Part]] = field(default_factory=list)
    """Lists of schemas of which one holds as well."""

    def note(self, part: Part, *, has_const: bool) -> None:
        """Take in one of the schemas that hold at once."""
        schema = part.schema
        if not isinstance(schema, dict):
            self.kinds = self.kinds if schema else frozenset()
            return
        if "type" in schema:
            kinds = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
            self.kinds &= {"number" if kind == "integer" else kind for kind in kinds}
        if "enum" in schema:
            self._list(schema["enum"])
        if "const" in schema and has_const:
            self._list([schema["const"]])
        self.required |= set(schema.get("required", ()))
        for name, one in zip(schema.get("properties", ()), part.members("properties"), strict=True):
            self.properties.setdefault(name, []).append(one)
        names_known = "properties" in schema or "unevaluatedProperties" in schema
        self.is_closed |= schema.get("additionalProperties", not names_known) is False
        if schema.get("additionalProperties") is False and "patternProperties" not in schema:
            self.closed.append(frozenset(schema.get("properties", ())))

    def _list(self, values: list[Any]) -> None:
        self.kinds &= {_kind(value) for value in values}
        if not any(isinstance(value, list | dict) for value in values):
            self.values = frozenset(map(_spelled, values))


class Alternatives:
    """Compares schemas of one document."""

    def __init__(
        self, way: Callable[[str], Iterator[Part]], target: Callable[[Part], Part], names: Callable[[Part], Names]
    ) -> None:
        """`way`: all that a pointer leads through. `target`: where a reference leads.

        `names`: those that the grammar may write in objects of a schema; raises what it raises for schemas that lead
        back to themselves.
        """
        self._way = way
        self._target = target
        self._names = names
        self._num_compared = 0
        self._known: dict[str, _Facts] = {}
        self._found: dict[tuple[str, str], bool] = {}

    def may_overlap(self, whole: Part, branches: Sequence[Part], names: Sequence[Names]) -> bool:
        """Whether a value that the grammar writes of one branch may be a value of another.

        `whole` is the schema with the `oneOf`, and `names` are those that may be written in objects of each branch.
        Raises Unenforceable for too many to find out.
        """
        around = list(self._at_once(whole))
        facts = [self._facts_of(branch, around) for branch in branches]
        if self._have_tags(facts):
            return False
        self._num_compared += len(branches) ** 2
        if self._num_compared > _MAX_COMPARED:
            raise whole.refuse("oneOf", "they are too many to compare. Tell them apart by a required 'const'.")
        pairs = permutations(zip(facts, names, strict=True), 2)
        return any(not self._are_apart(sent, written, its_names) for (sent, _), (written, its_names) in pairs)

    def _have_tags(self, facts: Sequence[_Facts]) -> bool:
        """Whether a required property has another value in each: so it is mostly, and found out fast."""
        names = frozenset.intersection(*(frozenset(one.required & one.properties.keys()) for one in facts))
        return any(
            all(one.kinds <= {"object"} for one in facts)
            and _all_differ([self._facts(one.properties[name][0]).values for one in facts])
            for name in names
        ) or _all_differ([one.values for one in facts])

    def _are_apart(self, sent: _Facts, written: _Facts, names: Names) -> bool:
        """Whether certainly no value that the grammar writes of one, with these names, is a value of another."""
        kinds = sent.kinds & written.kinds
        if not kinds or (sent.values is not None and written.values is not None and not sent.values & written.values):
            return True
        for choice in sent.choices:
            if all(self._are_apart(self._facts(one), written, names) for one in choice):
                return True
        for choice in written.choices:
            if all(self._are_apart(sent, self._facts(one), names) for one in choice):
                return True
        if kinds != {"object"}:
            return False
        if (written.is_closed and names is not None and sent.required - names) or any(
            written.required - known for known in sent.closed
        ):
            return True
        return any(
            self._parts_are_apart(one, other)
            for name in sent.required | written.required
            for one in sent.properties.get(name, ())
            for other in written.properties.get(name, ())
        )

    def _parts_are_apart(self, sent: Part, written: Part) -> bool:
        pair = sent.place, written.place
        if pair not in self._found:
            self._found[pair] = False  # what leads back here proves nothing
            self._found[pair] = self._are_apart(self._facts(sent), self._facts(written), self._names(written))
        return self._found[pair]

    # --- what is known ---

    def _facts(self, part: Part) -> _Facts:
        if part.place not in self._known:
            self._known[part.place] = self._facts_of(part)
        return self._known[part.place]

    def _facts_of(self, part: Part, around: Sequence[Part] = ()) -> _Facts:
        """Of a schema and those around it, whose alternatives are left out: it is one of them."""
        facts = _Facts()
        for one in self._at_once(part):
            facts.note(one, has_const=not self._is_of(one, _WITHOUT_CONST))
            facts.choices += [one.members(keyword) for keyword in ("anyOf", "oneOf") if one.has(keyword)]
        is_closed = facts.is_closed
        for one in around:
            facts.note(one, has_const=not self._is_of(one, _WITHOUT_CONST))
        facts.is_closed = is_closed  # those around know the names of all alternatives
        return facts

    def _at_once(self, part: Part) -> Iterator[Part]:
        """All schemas that hold where this one does."""
        self._names(part)
        if not (part.has("$ref") and self._is_of(part, _REFERENCES_ALONE)):
            yield part
            for one in part.members("allOf"):
                yield from self._at_once(one)
        if part.has("$ref"):
            yield from self._at_once(self._target(part))

    def _is_of(self, part: Part, drafts: Sequence[str]) -> bool:
        return any(names_draft(one, drafts) for one in self._way(part.place))


def _all_differ(values: Sequence[frozenset[str] | None]) -> bool:
    known = [some for some in values if some is not None]
    return len(known) == len(values) and sum(map(len, known)) == len(frozenset().union(*known))


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    kinds = {type(None): "null", int: "number", float: "number", str: "string", list: "array", dict: "object"}
    return kinds[type(value)]


def _spelled(value: Any) -> str:
    return json.dumps(int(value) if isinstance(value, float) and value.is_integer() else value)
