"""Which JSON schemas can be enforced, and how a grammar is told of them.

A schema is rebuilt from keywords that are known to hold, each tried against a validator
(tests/text/schema/test_corpus.py); any other is refused by its JSON pointer. What the grammar's compiler gets wrong is
written in another way here.
An object with `properties` and no word on further ones is closed, as with `unevaluatedProperties: false`: small
models fill an open object with keys without end.
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
    READ,
    Names,
    Part,
    Schema,
    Unenforceable,
    asks_for_nothing,
    check_values,
    check_writable,
    names_draft,
    read_bounds,
    read_pattern,
    read_text,
)
from crossette.text.schema.numbers import digits_of_step
from crossette.text.schema.one_of import Alternatives
from crossette.text.schema.termination import check_ends

WRITING = {
    # No choice of white space: else samplers fill pages with it, and next to nothing of an object is forced.
    "whitespace_flexible": False,
    "item_separator": ", ",
    "key_separator": ": ",
    # Nor of escapes: else a key that has a schema is written as another one, "\\u0061" for "a".
    "json_allowed_escapes": '"\\nrtbf',
}
"""How JSON is written, as the compiler's `x-guidance` says it."""

_OLDER_DRAFTS = ("draft-04", "draft-06", "draft-07", "2019-09")
"""They know no `prefixItems`, and there `items` speaks of every item."""

MAX_DEPTH = 50
MAX_PARTS = 5000
MAX_BRANCHES = 1000
"""Of optional properties of an object, and of alternatives: each is an item of the parser's rows."""


def enforceable(schema: Schema) -> dict[str, Any]:
    """The schema for the grammar's compiler. Raises Unenforceable.

    Every part says in `$comment` where it stood in the schema. The schema must be valid by its own meta-schema.
    """
    return _Rebuilding(schema).root()


class _Rebuilding:
    def __init__(self, schema: Schema) -> None:
        self._root = Part(schema, "")
        self._targets: dict[str, str] = {}
        """Places that are referred to, and their names in `$defs`."""
        self._known: dict[str, Names] = {}
        self._num_parts = 0
        self._step = 1
        """The least number that all `multipleOf` divide."""
        self._one_of = Alternatives(self._way, self._target, self._known_to)

    def root(self) -> dict[str, Any]:
        rebuilt = self._rebuild(self._root, frozenset(), 0)
        if rebuilt is False:
            raise Unenforceable("the schema is false, which no value matches")
        made: dict[str, Any] = {}
        while len(made) < len(self._targets):  # a target may refer to others
            place, name = list(self._targets.items())[len(made)]
            made[name] = self._rebuild(self._find(place), frozenset(), 0)
        rebuilt = {} if rebuilt is True else rebuilt
        check_ends(rebuilt, made)
        return rebuilt | ({"$defs": made} if made else {}) | {"x-guidance": WRITING}

    def _whole(self, part: Part, depth: int) -> Schema:
        """A schema of a value that no other schema speaks of.

        Alternatives that are looked into may lead back to this place, so it gets a name.
        """
        if any(_is_reference(one) for one in part.members("oneOf")):
            return self._refer(part)
        return self._rebuild(part, frozenset(), depth)

    def _refer(self, target: Part) -> dict[str, str]:
        return {"$ref": f"#/$defs/{self._targets.setdefault(target.place, str(len(self._targets)))}"}

    def _rebuild(self, part: Part, around: Names, depth: int) -> Schema:
        """`around`: what other schemas of the same value know."""
        self._num_parts += 1
        if self._num_parts > MAX_PARTS:
            raise Unenforceable(f"the schema has more than {MAX_PARTS} parts, those that are referred to included")
        if depth > MAX_DEPTH:
            raise Unenforceable(f"'{part.place}' is more than {MAX_DEPTH} schemas deep")
        if isinstance(part.schema, bool):
            return part.schema
        if not isinstance(part.schema, dict):
            raise Unenforceable(f"'{part.place}' is no schema: {str(part.schema)[:40]!r}")
        here = self._known_to(part)
        out: dict[str, Any] = {"$comment": part.place}
        for keyword, value in part.schema.items():
            if keyword in COPIED:
                out[keyword] = value
            elif keyword not in READ and not asks_for_nothing(part, keyword, value):
                raise part.refuse(keyword, ADVICE.get(keyword, "leave it out."))
        check_values(part)
        read_bounds(part, out)
        self._check_step(part)
        every = read_text(part, out)
        self._items(part, out, depth + 1)
        self._properties(part, out, around, here, depth + 1)
        self._alternatives(part, out, around, depth + 1)
        every += self._every(part, out, around, here, depth + 1)
        if every:
            out["allOf"] = every
        return out

    def _check_step(self, part: Part) -> None:
        """Refuse steps that are too fine together, as they are where several schemas speak of one number."""
        self._step = lcm(self._step, digits_of_step(part.schema.get("multipleOf", 1)))
        if self._step > MAX_STEP:
            raise part.refuse("multipleOf", f"with all others of the schema, it may be {MAX_STEP} at most.")

    # --- arrays ---

    def _items(self, part: Part, out: dict[str, Any], depth: int) -> None:
        first, rest = part.members("prefixItems"), "items"
        if first and part.has("items") and any(names_draft(one, _OLDER_DRAFTS) for one in self._way(part.place)):
            raise part.refuse(
                "prefixItems", "in the draft of '$schema', 'items' is of every item; leave '$schema' out."
            )
        if part.has("items") and isinstance(part.schema["items"], list):  # before 2020-12
            first, rest = part.members("items"), "additionalItems"
        elif part.has("additionalItems"):
            raise part.refuse("additionalItems", "it needs 'items' as a list; leave it out.")
        if first:
            out["prefixItems"] = [self._whole(one, depth) for one in first]
        if part.has(rest):
            out["items"] = self._whole(part.at(rest), depth)

    # --- objects ---

    def _properties(self, part: Part, out: dict[str, Any], around: Names, here: Names, depth: int) -> None:
        schema = part.schema
        for keyword in ("properties", "patternProperties"):
            if part.has(keyword):
                out[keyword] = {}
            for (name, _), one in zip(schema.get(keyword, {}).items(), part.members(keyword), strict=True):
                if keyword == "patternProperties":
                    name = read_pattern(part, keyword, name)
                check_writable(part, keyword, name)
                out[keyword][name] = self._whole(one, depth)
        if part.has("additionalProperties"):
            out["additionalProperties"] = self._whole(part.at("additionalProperties"), depth)
        elif {"properties", "patternProperties", "unevaluatedProperties"} & schema.keys():
            self._close(part, out, around, here)
        num_optional = len(schema.get("properties", {}).keys() - set(schema.get("required", ())))
        if num_optional > MAX_BRANCHES:
            raise part.refuse("properties", f"{num_optional} of them are optional, and {MAX_BRANCHES} is the limit.")
        self._check_names(part, out)

    def _close(self, part: Part, out: dict[str, Any], around: Names, here: Names) -> None:
        alone = around == frozenset() and not any(part.has(keyword) for keyword in IN_PLACE)
        # What other schemas of the object know counts as unevaluated here.
        names = here if part.schema.get("unevaluatedProperties") is False else _union(here, around)
        if alone:
            out["additionalProperties"] = False
        elif names is not None:
            own = out.get("properties", {})
            out["properties"] = own | dict.fromkeys(sorted(names - own.keys()), True)
            out["additionalProperties"] = False
        elif part.has("unevaluatedProperties"):
            raise part.refuse("unevaluatedProperties", "other schemas of the same object leave it open.")

    def _check_names(self, part: Part, out: dict[str, Any]) -> None:
        required = part.schema.get("required", ())
        closed = out.get("additionalProperties") is False and "patternProperties" not in out
        for name in required:
            check_writable(part, "required", name)
            if closed and name not in out.get("properties", {}):
                raise part.refuse("required", f"'{name}' is not in 'properties', and the object has no other.")
        if not closed and part.schema.get("minProperties", 0) > len(set(required)) + 1:
            raise part.refuse("minProperties", "a free key could be repeated; name the keys in 'required'.")

    # --- several schemas of one value ---

    def _alternatives(self, part: Part, out: dict[str, Any], around: Names, depth: int) -> None:
        for keyword in ("anyOf", "oneOf"):
            branches = part.members(keyword)
            if len(branches) > MAX_BRANCHES:
                raise part.refuse(keyword, f"it has {len(branches)} alternatives, and {MAX_BRANCHES} is the limit.")
            if keyword == "oneOf":  # the compiler compares them as they stand, and looks behind no reference
                branches = [self._behind(one) for one in branches]
            if branches:
                beside = _union(around, self._known_to(part, without=keyword))
                out[keyword] = [self._rebuild(one, beside, depth) for one in branches]
            if keyword == "oneOf" and len(branches) > 1:
                names = [_union(beside, self._known_to(one)) for one in branches]
                if self._one_of.may_overlap(part, branches, names):
                    raise part.refuse(
                        keyword,
                        "its alternatives may match at once, or may seem to. Send 'anyOf', close them with "
                        "'additionalProperties': false, or tell them apart by type or by a required 'const'.",
                    )

    def _behind(self, part: Part) -> Part:
        while _is_reference(part):
            part = self._target(part)
        return part

    def _every(self, part: Part, out: dict[str, Any], around: Names, here: Names, depth: int) -> list[Schema]:
        """The schemas that hold all at once. A `$ref` stays one where nothing beside it changes what it means."""
        known = _union(around, here)
        every = [self._rebuild(one, known, depth) for one in part.members("allOf")]
        if part.has("$ref"):
            target = self._target(part)
            own = self._known_to(target)
            if own == known or not own:
                out |= self._refer(target)
            else:
                every.append(self._rebuild(target, known, depth))
        return every

    def _target(self, part: Part) -> Part:
        ref, own = part.schema["$ref"], self._root.schema.get("$id", "").rstrip("#")
        pointer = ref.removeprefix(own) if own else ref
        if pointer != "#" and not pointer.startswith("#/"):
            raise part.refuse("$ref", f"'{ref}' is no JSON pointer into this schema, like '#/$defs/name'.")
        try:
            return self._find(unquote(pointer[1:]))
        except (KeyError, IndexError, TypeError, ValueError):
            raise part.refuse("$ref", f"the schema has nothing at '{ref}'.") from None

    def _find(self, place: str) -> Part:
        *_, found = self._way(place)
        return found

    def _way(self, place: str) -> Iterator[Part]:
        """All that a pointer leads through, from the whole schema on."""
        found = self._root
        yield found
        for step in place.split("/")[1:]:
            step = step.replace("~1", "/").replace("~0", "~")
            found = found.at(parse_count(step) if isinstance(found.schema, list) else step)
            yield found

    def _known_to(self, part: Part, *, without: str = "") -> Names:
        if without:
            return self._gather(part, (), without)
        if part.place not in self._known:
            self._known[part.place] = self._gather(part, (), "")
        return self._known[part.place]

    def _gather(self, part: Part, path: tuple[str, ...], without: str) -> Names:
        if not isinstance(part.schema, dict):
            return frozenset()
        if part.place in path:
            raise part.refuse("$ref", "it leads back to itself with nothing in between.")
        if len(path) > MAX_DEPTH:
            raise part.refuse("$ref", f"it leads through more than {MAX_DEPTH} others.")
        if not without and part.place in self._known:
            return self._known[part.place]
        names: Names = frozenset(part.schema.get("properties", ()))
        if "patternProperties" in part.schema or part.schema.get("additionalProperties", False) is not False:
            names = None
        inner = [one for keyword in IN_PLACE[:3] if keyword != without for one in part.members(keyword)]
        inner += [self._target(part)] if part.has("$ref") else []
        for one in inner:
            names = _union(names, self._gather(one, (*path, part.place), ""))
        if not without:
            self._known[part.place] = names
        return names


def _is_reference(part: Part) -> bool:
    """Whether it says nothing but where to look."""
    return part.has("$ref") and part.schema.keys() - ANNOTATIONS == {"$ref"}


def _union(one: Names, other: Names) -> Names:
    return None if one is None or other is None else one | other
