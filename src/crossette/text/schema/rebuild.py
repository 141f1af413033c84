"""Rewriting of JSON schemas for the grammar compiler, and rejection of schemas that cannot be enforced.

A schema is rebuilt from keywords that the compiler is known to enforce, each tested against a validator
(tests/text/schema/test_corpus.py). Any other keyword is rejected, with its JSON pointer. What the compiler gets wrong
is expressed in another way.
An object with `properties` and no rule for additional ones is closed, as with `unevaluatedProperties: false`: small
models fill an open object with endless keys.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import lcm
from typing import Any
from urllib.parse import unquote

from crossette.numerals import parse_count
from crossette.text.schema.keywords import (
    ADVICE,
    ANNOTATIONS,
    COPIED,
    IN_PLACE,
    MAX_STEP,
    REWRITTEN,
    Names,
    Part,
    Schema,
    Unenforceable,
    check_values,
    check_writable,
    has_no_effect,
    read_bounds,
    read_pattern,
    read_text,
    uses_draft,
)
from crossette.text.schema.numbers import digits_of_step
from crossette.text.schema.one_of import Alternatives
from crossette.text.schema.termination import check_terminates

GUIDANCE = {
    # Fixed white space: else models generate pages of it, and almost no token of an object is forced.
    "whitespace_flexible": False,
    "item_separator": ", ",
    "key_separator": ": ",
    # Fixed escapes: else a key with a schema can be written as another one, "\\u0061" for "a".
    "json_allowed_escapes": '"\\nrtbf',
}
"""The notation of generated JSON, as `x-guidance` of the compiler."""

_OLDER_DRAFTS = ("draft-04", "draft-06", "draft-07", "2019-09")
"""Drafts without `prefixItems`, in which `items` applies to every item."""

MAX_DEPTH = 50
MAX_PARTS = 5000
MAX_BRANCHES = 1000
"""The most optional properties of an object, and alternatives: each is an item in the sets of the Earley parser."""


def enforceable(schema: Schema) -> dict[str, Any]:
    """Rewrite a schema for the grammar compiler. Raises Unenforceable.

    Every part has its JSON pointer in `$comment`. The schema must be valid by its own meta-schema.
    """
    return _Rebuilder(schema).root()


class _Rebuilder:
    def __init__(self, schema: Schema) -> None:
        self._root = Part(schema, "")
        self._targets: dict[str, str] = {}
        """Pointers that are targets of references, and their names in `$defs`."""
        self._names_by_pointer: dict[str, Names] = {}
        self._num_parts = 0
        self._step = 1
        """The least common multiple of all `multipleOf`."""
        self._one_of = Alternatives(self._path_to, self._target, self._names_of)

    def root(self) -> dict[str, Any]:
        rebuilt = self._rebuild(self._root, frozenset(), 0)
        if rebuilt is False:
            raise Unenforceable("the schema is false, which no value matches")
        definitions: dict[str, Any] = {}
        while len(definitions) < len(self._targets):  # a target may refer to others
            pointer, name = list(self._targets.items())[len(definitions)]
            definitions[name] = self._rebuild(self._find(pointer), frozenset(), 0)
        rebuilt = {} if rebuilt is True else rebuilt
        check_terminates(rebuilt, definitions)
        return rebuilt | ({"$defs": definitions} if definitions else {}) | {"x-guidance": GUIDANCE}

    def _independent(self, part: Part, depth: int) -> Schema:
        """Rebuild a schema to whose value no other schema applies.

        Alternatives that are resolved may refer back to it, so it becomes a definition then.
        """
        if any(_is_reference(one) for one in part.members("oneOf")):
            return self._refer(part)
        return self._rebuild(part, frozenset(), depth)

    def _refer(self, target: Part) -> dict[str, str]:
        return {"$ref": f"#/$defs/{self._targets.setdefault(target.pointer, str(len(self._targets)))}"}

    def _rebuild(self, part: Part, outer_names: Names, depth: int) -> Schema:
        """Rebuild a schema. `outer_names` are the property names that other schemas of the same value know."""
        self._num_parts += 1
        if self._num_parts > MAX_PARTS:
            raise Unenforceable(f"the schema has more than {MAX_PARTS} parts, including targets of references")
        if depth > MAX_DEPTH:
            raise Unenforceable(f"'{part.pointer}' is nested more than {MAX_DEPTH} schemas deep")
        if isinstance(part.schema, bool):
            return part.schema
        if not isinstance(part.schema, dict):
            raise Unenforceable(f"'{part.pointer}' is not a schema: {str(part.schema)[:40]!r}")
        own_names = self._names_of(part)
        out: dict[str, Any] = {"$comment": part.pointer}
        for keyword, value in part.schema.items():
            if keyword in COPIED:
                out[keyword] = value
            elif keyword not in REWRITTEN and not has_no_effect(part, keyword, value):
                raise part.error(keyword, ADVICE.get(keyword, "omit it."))
        check_values(part)
        read_bounds(part, out)
        self._check_step(part)
        conjuncts = read_text(part, out)
        self._items(part, out, depth + 1)
        self._properties(part, out, outer_names, own_names, depth + 1)
        self._alternatives(part, out, outer_names, depth + 1)
        conjuncts += self._conjuncts(part, out, outer_names, own_names, depth + 1)
        if conjuncts:
            out["allOf"] = conjuncts
        return out

    def _check_step(self, part: Part) -> None:
        """Raise Unenforceable if the combined steps are too fine: several schemas may apply to one number."""
        self._step = lcm(self._step, digits_of_step(part.schema.get("multipleOf", 1)))
        if self._step > MAX_STEP:
            raise part.error("multipleOf", f"the least common multiple of all of them may be {MAX_STEP} at most.")

    # --- arrays ---

    def _items(self, part: Part, out: dict[str, Any], depth: int) -> None:
        first, rest = part.members("prefixItems"), "items"
        if first and part.has("items") and any(uses_draft(one, _OLDER_DRAFTS) for one in self._path_to(part.pointer)):
            raise part.error("prefixItems", "in the draft of '$schema', 'items' applies to every item; omit '$schema'.")
        if part.has("items") and isinstance(part.schema["items"], list):  # before 2020-12
            first, rest = part.members("items"), "additionalItems"
        elif part.has("additionalItems"):
            raise part.error("additionalItems", "it requires 'items' as a list; omit it.")
        if first:
            out["prefixItems"] = [self._independent(one, depth) for one in first]
        if part.has(rest):
            out["items"] = self._independent(part.at(rest), depth)

    # --- objects ---

    def _properties(self, part: Part, out: dict[str, Any], outer_names: Names, own_names: Names, depth: int) -> None:
        schema = part.schema
        for keyword in ("properties", "patternProperties"):
            if part.has(keyword):
                out[keyword] = {}
            for (name, _), one in zip(schema.get(keyword, {}).items(), part.members(keyword), strict=True):
                if keyword == "patternProperties":
                    name = read_pattern(part, keyword, name)
                check_writable(part, keyword, name)
                out[keyword][name] = self._independent(one, depth)
        if part.has("additionalProperties"):
            out["additionalProperties"] = self._independent(part.at("additionalProperties"), depth)
        elif {"properties", "patternProperties", "unevaluatedProperties"} & schema.keys():
            self._close(part, out, outer_names, own_names)
        num_optional = len(schema.get("properties", {}).keys() - set(schema.get("required", ())))
        if num_optional > MAX_BRANCHES:
            raise part.error("properties", f"{num_optional} of them are optional, and {MAX_BRANCHES} is the limit.")
        self._check_names(part, out)

    def _close(self, part: Part, out: dict[str, Any], outer_names: Names, own_names: Names) -> None:
        is_alone = outer_names == frozenset() and not any(part.has(keyword) for keyword in IN_PLACE)
        # Names that only other schemas of the object know are unevaluated here.
        names = own_names if part.schema.get("unevaluatedProperties") is False else _union(own_names, outer_names)
        if is_alone:
            out["additionalProperties"] = False
        elif names is not None:
            properties = out.get("properties", {})
            out["properties"] = properties | dict.fromkeys(sorted(names - properties.keys()), True)
            out["additionalProperties"] = False
        elif part.has("unevaluatedProperties"):
            raise part.error("unevaluatedProperties", "another schema of the same object allows additional properties.")

    def _check_names(self, part: Part, out: dict[str, Any]) -> None:
        required = part.schema.get("required", ())
        closed = out.get("additionalProperties") is False and "patternProperties" not in out
        for name in required:
            check_writable(part, "required", name)
            if closed and name not in out.get("properties", {}):
                raise part.error(
                    "required", f"'{name}' is not in 'properties', and additional properties are not allowed."
                )
        if not closed and part.schema.get("minProperties", 0) > len(set(required)) + 1:
            raise part.error(
                "minProperties", "a grammar cannot prevent free keys from repeating; list the keys in 'required'."
            )

    # --- several schemas of one value ---

    def _alternatives(self, part: Part, out: dict[str, Any], outer_names: Names, depth: int) -> None:
        for keyword in ("anyOf", "oneOf"):
            branches = part.members(keyword)
            if len(branches) > MAX_BRANCHES:
                raise part.error(keyword, f"it has {len(branches)} alternatives, and {MAX_BRANCHES} is the limit.")
            if keyword == "oneOf":  # the compiler compares them as given, and resolves no reference
                branches = [self._resolved(one) for one in branches]
            if branches:
                sibling_names = _union(outer_names, self._names_of(part, without=keyword))
                out[keyword] = [self._rebuild(one, sibling_names, depth) for one in branches]
            if keyword == "oneOf" and len(branches) > 1:
                names = [_union(sibling_names, self._names_of(one)) for one in branches]
                if self._one_of.may_overlap(part, branches, names):
                    raise part.error(
                        keyword,
                        "its alternatives may overlap, or cannot be shown not to. Send 'anyOf', close them with "
                        "'additionalProperties': false, or distinguish them by type or by a required 'const'.",
                    )

    def _resolved(self, part: Part) -> Part:
        while _is_reference(part):
            part = self._target(part)
        return part

    def _conjuncts(
        self, part: Part, out: dict[str, Any], outer_names: Names, own_names: Names, depth: int
    ) -> list[Schema]:
        """The schemas that all apply. A `$ref` stays a reference if no keyword next to it changes its meaning."""
        all_names = _union(outer_names, own_names)
        conjuncts = [self._rebuild(one, all_names, depth) for one in part.members("allOf")]
        if part.has("$ref"):
            target = self._target(part)
            target_names = self._names_of(target)
            if target_names == all_names or not target_names:
                out |= self._refer(target)
            else:
                conjuncts.append(self._rebuild(target, all_names, depth))
        return conjuncts

    def _target(self, part: Part) -> Part:
        ref, root_id = part.schema["$ref"], self._root.schema.get("$id", "").rstrip("#")
        pointer = ref.removeprefix(root_id) if root_id else ref
        if pointer != "#" and not pointer.startswith("#/"):
            raise part.error("$ref", f"'{ref}' is not a JSON pointer into this schema, like '#/$defs/name'.")
        try:
            return self._find(unquote(pointer[1:]))
        except (KeyError, IndexError, TypeError, ValueError):
            raise part.error("$ref", f"the schema has nothing at '{ref}'.") from None

    def _find(self, pointer: str) -> Part:
        *_, found = self._path_to(pointer)
        return found

    def _path_to(self, pointer: str) -> Iterator[Part]:
        """Yield the schemas and values on the path of a pointer, from the root on."""
        found = self._root
        yield found
        for step in pointer.split("/")[1:]:
            step = step.replace("~1", "/").replace("~0", "~")
            found = found.at(parse_count(step) if isinstance(found.schema, list) else step)
            yield found

    def _names_of(self, part: Part, *, without: str = "") -> Names:
        if without:
            return self._gather(part, (), without)
        if part.pointer not in self._names_by_pointer:
            self._names_by_pointer[part.pointer] = self._gather(part, (), "")
        return self._names_by_pointer[part.pointer]

    def _gather(self, part: Part, path: tuple[str, ...], without: str) -> Names:
        if not isinstance(part.schema, dict):
            return frozenset()
        if part.pointer in path:
            raise part.error("$ref", "it refers to itself.")
        if len(path) > MAX_DEPTH:
            raise part.error("$ref", f"it is a chain of more than {MAX_DEPTH} references.")
        if not without and part.pointer in self._names_by_pointer:
            return self._names_by_pointer[part.pointer]
        names: Names = frozenset(part.schema.get("properties", ()))
        if "patternProperties" in part.schema or part.schema.get("additionalProperties", False) is not False:
            names = None
        inner = [one for keyword in IN_PLACE[:3] if keyword != without for one in part.members(keyword)]
        inner += [self._target(part)] if part.has("$ref") else []
        for one in inner:
            names = _union(names, self._gather(one, (*path, part.pointer), ""))
        if not without:
            self._names_by_pointer[part.pointer] = names
        return names


def _is_reference(part: Part) -> bool:
    """Whether it has no keywords except `$ref` and annotations."""
    return part.has("$ref") and part.schema.keys() - ANNOTATIONS == {"$ref"}


def _union(one: Names, other: Names) -> Names:
    return None if one is None or other is None else one | other
