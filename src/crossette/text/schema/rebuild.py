"""Rewriting of JSON schemas for the grammar compiler.

A schema is rebuilt from keywords that the compiler is known to enforce, each tested against a validator
(tests/text/schema/test_corpus.py). Any other keyword is left out and only checked, or refused, with its JSON pointer.
What the compiler gets wrong is expressed in another way.
An object with `properties` and no rule for additional ones is closed, as with `unevaluatedProperties: false`: small
models fill an open object with endless keys.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import lcm
from typing import Any

import jsonschema_rs

from crossette.text.schema.compiles import GUIDANCE, fault_of_names, fault_of_schema
from crossette.text.schema.document import MAX_DEPTH, Document
from crossette.text.schema.ecma_regex import to_rust
from crossette.text.schema.keywords import COPIED, IN_PLACE, MEANINGFUL, REPLACED, has_no_effect, misspelled
from crossette.text.schema.loosen import loosen
from crossette.text.schema.names import NO_NAMES, Names, NameSet, union
from crossette.text.schema.negation import negated
from crossette.text.schema.numbers import digits_of_step
from crossette.text.schema.one_of import Alternatives
from crossette.text.schema.part import OPEN, Part, Schema, Unenforceable, uses_draft
from crossette.text.schema.property_names import property_names
from crossette.text.schema.report import Report
from crossette.text.schema.sizes import check_sizes
from crossette.text.schema.termination import check_terminates
from crossette.text.schema.values import is_writable, read_bounds, read_text, unwritable

_OLDER_DRAFTS = ("draft-04", "draft-06", "draft-07", "2019-09")
"""Drafts without `prefixItems`, in which `items` applies to every item."""

MAX_PARTS = 5000
MAX_BRANCHES = 1000
"""The most optional properties of an object, and alternatives: each is an item in the sets of the Earley parser."""
_MAX_EXCLUSIVE = 4
"""The most alternatives of `oneOf` that are made exclusive: each excludes each other one."""
MAX_STEP = 10_000
"""The limit on the least common multiple of all `multipleOf`: the compiler has a state for each remainder."""


@dataclass(frozen=True, slots=True)
class Enforced:
    """A schema rewritten for the grammar compiler."""

    schema: dict[str, Any]
    """Every part has its JSON pointer in `$comment`."""
    checked: tuple[str, ...] = ()
    """The JSON pointers of keywords that are not in it, and must be checked in the finished answer."""
    notes: tuple[str, ...] = ()
    """Sentences about unknown keywords that may be misspelled."""


def enforceable(schema: Schema, *, strict: bool = False) -> Enforced:
    """Rewrite a schema for the grammar compiler. It must be valid by its own meta-schema.

    Raises Unenforceable for a schema that has no value, or is too large; with `strict` also for keywords that a grammar
    cannot enforce.
    """
    report = Report(strict=strict)
    rebuilt = _Rebuilder(Document(schema), report).root()
    fault = fault_of_schema(rebuilt)
    if fault is not None and fault.is_circular:
        rebuilt, report = _inlined(schema, strict=strict) or (rebuilt, report)
    loosen(rebuilt, report)
    report.raise_faults()
    return Enforced(rebuilt, report.checked, report.notes)


def _inlined(schema: Schema, *, strict: bool) -> tuple[dict[str, Any], Report] | None:
    """Rebuild a schema with copies of the targets of references that other keywords are next to.

    None if there are too many.
    """
    report = Report(strict=strict)
    try:
        return _Rebuilder(Document(schema), report, inlines=True).root(), report
    except Unenforceable:
        return None


class _Rebuilder:
    def __init__(self, document: Document, report: Report, *, inlines: bool = False) -> None:
        self._document = document
        self._report = report
        self._inlines = inlines
        """Whether targets of references are copied where other schemas apply to the same value."""
        self._open: set[str] = set()
        """The schemas that are being rebuilt, and to whose values no others apply."""
        self._targets: dict[str, Part] = {}
        """The targets of references, in the order of their names in `$defs`."""
        self._names: dict[str, str] = {}
        self._num_parts = 0
        self._step = 1
        """The least common multiple of all `multipleOf`."""
        self._one_of = Alternatives(document)

    def root(self) -> dict[str, Any]:
        rebuilt = self._independent(self._document.root, 0)
        if rebuilt is False:
            raise Unenforceable("the schema is false, which no value matches.")
        definitions: dict[str, Any] = {}
        while len(definitions) < len(self._targets):  # a target may refer to others
            target = list(self._targets.values())[len(definitions)]
            definitions[str(len(definitions))] = self._independent(target, 0)
        rebuilt = {} if rebuilt is True else rebuilt
        check_terminates(rebuilt, definitions)
        return rebuilt | ({"$defs": definitions} if definitions else {}) | {"x-guidance": GUIDANCE}

    def _independent(self, part: Part, depth: int) -> Schema:
        """Rebuild a schema to whose value no other schema applies. Within itself it is a reference."""
        if part.key in self._open:
            return self._refer(part)
        self._open.add(part.key)
        rebuilt = self._rebuild(part, NO_NAMES, depth)
        self._open.remove(part.key)
        return rebuilt

    def _refer(self, target: Part) -> dict[str, str]:
        name = self._names.setdefault(target.key, str(len(self._names)))
        self._targets.setdefault(target.key, target)
        return {"$ref": f"#/$defs/{name}"}

    def _rebuild(self, sent: Part, outer_names: Names, depth: int, *, is_alone: bool = True) -> Schema:
        """Rebuild a schema. `outer_names` are the property names that other schemas of the same value know.

        `is_alone`: no other schema restricts the same value.
        """
        self._num_parts += 1
        if self._num_parts > MAX_PARTS:
            raise Unenforceable(f"the schema has more than {MAX_PARTS} parts, including targets of references.")
        if depth > MAX_DEPTH:
            raise Unenforceable(f"'{sent.pointer}' is nested more than {MAX_DEPTH} schemas deep.")
        part = self._document.simple(sent)
        if isinstance(part.schema, bool):
            return part.schema
        if not isinstance(part.schema, dict):
            raise Unenforceable(f"'{part.pointer}' is not a schema: {str(part.schema)[:40]!r}.")
        own_names = self._document.names_of(sent)
        out: dict[str, Any] = {"$comment": part.pointer}
        self._copy(part, out)
        conjuncts: list[Schema] = [*read_bounds(part, out, self._document, self._report)]
        self._multiple_of(part, out)
        conjuncts += read_text(part, out, self._document, self._report)
        self._items(part, out, depth + 1)
        self._properties(part, out, outer_names, own_names, depth + 1)
        conjuncts += check_sizes(part, out, union(outer_names, own_names), self._document, self._report)
        conjuncts += self._alternatives(part, out, outer_names, depth + 1, is_alone=is_alone)
        conjuncts += self._conjuncts(part, out, outer_names, own_names, depth + 1, is_alone=is_alone)
        if conjuncts:
            out["allOf"] = conjuncts
        return out if "properties" in out and out.get("additionalProperties") is False else _in_order_of(part, out)

    def _copy(self, part: Part, out: dict[str, Any]) -> None:
        """Copy what the compiler enforces as it is, and report what is left out."""
        for keyword, value in part.schema.items():
            reason = REPLACED[keyword].advice if keyword in REPLACED else unwritable(keyword, value)
            if keyword in COPIED and reason is None:
                is_size = keyword.startswith(("min", "max"))
                out[keyword] = int(value) if is_size else value
            elif reason is not None and keyword != "propertyNames" and not has_no_effect(part, keyword, self._document):
                self._report.leave_out(part, keyword, reason)
                writable = [one for one in value if unwritable("enum", one) is None] if keyword == "enum" else []
                out |= {"enum": writable} if writable else {}
            elif meant := misspelled(keyword):
                self._report.note(f"'{part.pointer_of(keyword)}' is not a keyword. Did you mean '{meant}'?")

    def _multiple_of(self, part: Part, out: dict[str, Any]) -> None:
        """Copy the step of a number unless the combined steps are too fine: several schemas may apply to one number."""
        if "multipleOf" not in part.schema:
            return
        step = lcm(self._step, digits_of_step(part.schema["multipleOf"]))
        if step > MAX_STEP:
            reason = f"the least common multiple of all of them may be {MAX_STEP} at most."
            self._report.leave_out(part, "multipleOf", reason)
        else:
            self._step = step
            out["multipleOf"] = part.schema["multipleOf"]

    # --- arrays ---

    def _items(self, part: Part, out: dict[str, Any], depth: int) -> None:
        first, rest = part.members("prefixItems"), "items"
        if first and part.has("items") and self._is_older(part):
            self._report.leave_out(
                part, "prefixItems", "in the draft of '$schema', 'items' applies to every item; omit '$schema'."
            )
            first = []
        if part.has("items") and isinstance(part.schema["items"], list):  # before 2020-12
            first, rest = part.members("items"), "additionalItems"
        if first:
            out["prefixItems"] = [self._independent(one, depth) for one in first]
        if part.has(rest):
            out["items"] = self._independent(part.at(rest), depth)

    def _is_older(self, part: Part) -> bool:
        return any(uses_draft(one, _OLDER_DRAFTS) for one in self._document.path_to(part.pointer))

    # --- objects ---

    def _properties(self, part: Part, out: dict[str, Any], outer_names: Names, own_names: Names, depth: int) -> None:
        schema = part.schema
        if part.has("properties"):
            out["properties"] = {}
            for (name, _), one in zip(schema["properties"].items(), part.members("properties"), strict=True):
                if not is_writable(name):
                    raise part.error("properties", unwritable("required", name) or "")
                out["properties"][name] = self._independent(one, depth)
        if part.has("patternProperties") and not self._pattern_properties(part, out, depth):
            if part.schema.get("additionalProperties", True) not in (True, {}):
                self._report.leave_out(part, "additionalProperties", "the names of 'patternProperties' are unknown.")
        elif part.has("additionalProperties"):
            out["additionalProperties"] = self._independent(part.at("additionalProperties"), depth)
        elif {"properties", "patternProperties", "unevaluatedProperties"} & schema.keys() and OPEN not in schema:
            self._close(part, out, outer_names, own_names)
        if part.has("propertyNames") and not has_no_effect(part, "propertyNames", self._document):
            names = property_names(part, self._document)
            if names is None or not names.restrict(out):
                self._report.leave_out(part, "propertyNames", REPLACED["propertyNames"].advice)
        num_optional = len(schema.get("properties", {}).keys() - set(schema.get("required", ())))
        if num_optional > MAX_BRANCHES:
            raise part.error("properties", f"{num_optional} of them are optional, and {MAX_BRANCHES} is the limit.")
        self._forbid_unlisted(out)

    def _pattern_properties(self, part: Part, out: dict[str, Any], depth: int) -> bool:
        """Whether the compiler can tell the names apart. They are left out if not, and the object is open then."""
        try:
            patterns = [to_rust(pattern, for_json=True) for pattern in part.schema["patternProperties"]]
            fault = fault_of_names(list(part.schema.get("properties", ())), patterns)
        except ValueError as error:
            fault = f"{error}."
        if fault:
            self._report.leave_out(part, "patternProperties", fault)
            return False
        members = part.members("patternProperties")
        out["patternProperties"] = {
            pattern: self._independent(one, depth) for pattern, one in zip(patterns, members, strict=True)
        }
        for pattern, one in zip(part.schema["patternProperties"], out["patternProperties"].values(), strict=True):
            has_match = jsonschema_rs.validator_for({"pattern": pattern}).is_valid
            for name in out.get("properties", ()):
                if has_match(name) and _bare(out["properties"][name]) == _bare(one):
                    out["properties"][name] = True  # the compiler cannot intersect a reference with itself
        return True

    def _close(self, part: Part, out: dict[str, Any], outer_names: Names, own_names: Names) -> None:
        """Exclude additional properties. Required ones that are not listed may have any value."""
        properties = out.get("properties", {})
        is_alone = outer_names == NO_NAMES and not any(part.has(keyword) for keyword in IN_PLACE)
        # Names that only other schemas of the object know are unevaluated here.
        names = own_names if part.schema.get("unevaluatedProperties") is False else union(outer_names, own_names)
        if names is None and is_alone:
            names = NameSet(properties, filter(is_writable, part.schema.get("required", ())))
        if names is not None:
            out["properties"] = {name: properties.get(name, True) for name in names} | properties
            out["additionalProperties"] = False
        elif part.has("unevaluatedProperties"):
            self._report.leave_out(
                part, "unevaluatedProperties", "another schema of the same object allows additional properties."
            )

    def _forbid_unlisted(self, out: dict[str, Any]) -> None:
        """A required name that a closed object does not list has no value."""
        closed = out.get("additionalProperties") is False and "patternProperties" not in out
        for name in out.get("required", ()) if closed else ():
            out.setdefault("properties", {}).setdefault(name, False)

    # --- several schemas of one value ---

    def _is_alone(self, part: Part, keyword: str, members: list[Part], out: dict[str, Any]) -> bool:
        """Whether no other keyword of a schema restricts the values that the schemas of this one allow.

        A type that they imply is dropped.
        """
        if not self._inlines:
            return True
        rest = part.schema.keys() & MEANINGFUL - {keyword}
        if rest == {"type"} and self._one_of.imply_types(
            members, part.types(), all_apply=keyword not in ("anyOf", "oneOf")
        ):
            out.pop("type", None)
            rest = set()
        return not rest and (keyword in ("anyOf", "oneOf") or len(members) == 1)

    def _alternatives(
        self, part: Part, out: dict[str, Any], outer_names: Names, depth: int, *, is_alone: bool
    ) -> list[Schema]:
        """Rebuild `anyOf` and `oneOf`. Return a further schema that applies as well, if there are both."""
        rebuilt: list[Schema] = []
        for keyword in ("anyOf", "oneOf"):
            branches = part.members(keyword)
            if len(branches) > MAX_BRANCHES:
                raise part.error(keyword, f"it has {len(branches)} alternatives, and {MAX_BRANCHES} is the limit.")
            if branches:
                sibling_names = union(outer_names, self._document.names_of(part, without=keyword))
                alone = is_alone and self._is_alone(part, keyword, branches, out)
                if keyword == "oneOf" and len(branches) > 1:
                    branches = self._exclusive(part, branches, sibling_names)
                rebuilt.append(
                    {"anyOf": [self._rebuild(one, sibling_names, depth, is_alone=alone) for one in branches]}
                )
        if rebuilt:
            out |= rebuilt.pop(0)
        return rebuilt

    def _exclusive(self, part: Part, branches: list[Part], sibling_names: Names) -> list[Part]:
        """The alternatives of `oneOf`, each without the values of the others if they overlap."""
        names = [union(sibling_names, self._document.names_of(one)) for one in branches]
        reason = self._one_of.overlap(part, branches, names)
        if reason is None:
            return branches
        is_possible = len(branches) <= _MAX_EXCLUSIVE and not self._document.has_unevaluated
        others = [negated(one, self._document) for one in branches] if is_possible else [None]
        if None in others:
            self._report.leave_out(part, "oneOf", reason)
            return branches
        return [
            one.derived({"allOf": [one, *others[:index], *others[index + 1 :]]}, "oneOf")
            for index, one in enumerate(branches)
        ]

    def _conjuncts(
        self,
        part: Part,
        out: dict[str, Any],
        outer_names: Names,
        own_names: Names,
        depth: int,
        *,
        is_alone: bool,
    ) -> list[Schema]:
        """The schemas that all apply. A `$ref` stays a reference if no keyword next to it changes its meaning."""
        all_names = union(outer_names, own_names)
        members = part.members("allOf")
        alone = is_alone and self._is_alone(part, "allOf", members, out)
        conjuncts = [self._rebuild(one, all_names, depth, is_alone=alone) for one in members]
        if part.has("$ref"):
            target = self._document.target(part)
            if target is None:
                self._report.leave_out(part, "$ref", f"the schema has nothing at '{part.schema['$ref']}'.")
                return conjuncts
            target_names = self._document.names_of(target)
            alone = is_alone and self._is_alone(part, "$ref", [target], out)
            if (alone or not self._inlines) and (target_names == all_names or target_names is None):
                out |= self._refer(target)
            else:
                conjuncts.append(self._rebuild(target, all_names, depth, is_alone=False))
        return conjuncts


def _bare(rebuilt: Any) -> Any:
    """A rebuilt schema without its pointers."""
    if isinstance(rebuilt, dict):
        return {key: _bare(one) for key, one in rebuilt.items() if key != "$comment"}
    return [_bare(one) for one in rebuilt] if isinstance(rebuilt, list) else rebuilt


def _in_order_of(part: Part, out: dict[str, Any]) -> dict[str, Any]:
    """The keywords in the order of the schema as sent: objects have their properties in this order."""
    position = {keyword: index for index, keyword in enumerate(part.schema)}
    sent = {"$comment": ("",), "anyOf": ("anyOf", "oneOf"), "allOf": ("allOf", "$ref")}
    position[""] = -1

    def first(keyword: str) -> int:
        return min((position[one] for one in sent.get(keyword, (keyword,)) if one in position), default=len(position))

    return {keyword: out[keyword] for keyword in sorted(out, key=first)}
