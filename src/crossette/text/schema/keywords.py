"""A part of a JSON schema, which keywords it may have, and what they may say."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, Final

from crossette.text.schema.ecma_regex import to_rust
from crossette.text.schema.formats import FORMATS, LONGEST, WRITTEN
from crossette.text.schema.numbers import EXACT, Side, drawn_in, is_exact

Schema = Any
"""A schema is a JSON object, true or false: any JSON until it was looked at."""

Names = frozenset[str] | None
"""The properties that schemas of one value know together; None where any name is known."""

ANNOTATIONS: Final = frozenset(
    {"title", "description", "default", "example", "examples", "deprecated", "readOnly", "writeOnly", "discriminator"}
    | {"$schema", "$comment", "$anchor", "$defs", "definitions"}
)
"""Keywords that no value can break, as are names beginning with `x-`. `discriminator` repeats what `oneOf` says."""

IN_PLACE: Final = ("allOf", "anyOf", "oneOf", "$ref")
"""Keywords with other schemas of the same value."""

COPIED: Final = frozenset(
    {"type", "enum", "const", "minLength", "maxLength", "minItems", "maxItems"}
    | {"required", "minProperties", "maxProperties"}
)
READ: Final = frozenset(
    {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "pattern", "format"}
    | {"items", "prefixItems", "additionalItems", "properties", "patternProperties", "additionalProperties"}
    | {*IN_PLACE, "unevaluatedProperties"}
)
"""Keywords that are told in another way, or held to what can be enforced of them."""

MAX_STEP = 10_000
"""Of all `multipleOf` together, as integers: the compiler has a state for each remainder."""

ADVICE = {
    "uniqueItems": "a grammar does not know what it said before; leave it out, or send false.",
    "propertyNames": "send {'type': 'string'}, or write the names as 'patternProperties'.",
    "not": "write what may be instead.",
    "if": "write the cases as 'anyOf'.",
    "then": "write the cases as 'anyOf'.",
    "else": "write the cases as 'anyOf'.",
    "nullable": "write null as one of the types.",
    "$id": "only the schema itself may have one.",
}


class Unenforceable(ValueError):
    """A schema that cannot be enforced: `str(error)` names the keyword and where it stands."""


@dataclass(frozen=True, slots=True)
class Part:
    """A schema within the schema, and its JSON pointer."""

    schema: Schema
    place: str

    def at(self, *steps: str | int) -> Part:
        found, place = self.schema, self.place
        for step in steps:
            found = found[step]
            place += "/" + str(step).replace("~", "~0").replace("/", "~1")
        return Part(found, place)

    def has(self, keyword: str) -> bool:
        return isinstance(self.schema, dict) and keyword in self.schema

    def members(self, keyword: str) -> list[Part]:
        """The schemas in a keyword that holds a list, or a map, of them."""
        if not self.has(keyword):
            return []
        value = self.schema[keyword]
        return [self.at(keyword, step) for step in (value if isinstance(value, dict) else range(len(value)))]

    def refuse(self, keyword: str, reason: str) -> Unenforceable:
        return Unenforceable(f"'{keyword}' at '{self.place}/{keyword}': {reason}")


def names_draft(part: Part, drafts: Sequence[str]) -> bool:
    """Whether its `$schema` is one of these."""
    return part.has("$schema") and any(draft in str(part.schema["$schema"]) for draft in drafts)


def asks_for_nothing(part: Part, keyword: str, value: Any) -> bool:
    """Whether a keyword that is not enforced is none, or has a value that every output keeps to."""
    match keyword:
        case "uniqueItems" | "nullable":
            return value is False
        case "propertyNames":  # some generators always send it
            return value is True or value in ({}, {"type": "string"})
        case "$id":
            return not part.place
    return keyword in ANNOTATIONS or keyword.startswith("x-")


def check_values(part: Part) -> None:
    """Refuse values that the grammar would have to spell in a way that it has not."""
    for keyword in ("enum", "const"):
        if part.has(keyword):
            for value in _leaves(part.schema[keyword]):
                if isinstance(value, str):
                    check_writable(part, keyword, value)
                elif not isinstance(value, bool | None) and not is_exact(value):
                    raise part.refuse(keyword, f"{value} is larger, or has more digits, than all readers of JSON keep.")


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        yield from (leaf for item in value for leaf in _leaves(item))
    elif isinstance(value, dict):
        yield from (leaf for pair in value.items() for leaf in _leaves(list(pair)))
    else:
        yield value


def check_writable(part: Part, keyword: str, text: str) -> None:
    if any(
        (char < " " and char not in "\b\f\n\r\t") or "\x7f" <= char < "\x80" or "\ud800" <= char < "\ue000"
        for char in text
    ):
        raise part.refuse(keyword, f"{text[:40]!r} has a control character or half a surrogate pair.")


_TIGHTER: Final[dict[Side, Callable[[float, float], float]]] = {"minimum": max, "maximum": min}


def read_bounds(part: Part, out: dict[str, Any]) -> None:
    """Bounds of numbers, as inclusive ones. Those beyond 2**53 are drawn in to it: what is written keeps to both.

    Raises Unenforceable where nothing up to 2**53 is within them.
    """
    is_integer = part.schema.get("type") == "integer"
    for side, tighter in _TIGHTER.items():
        far = -EXACT if side == "minimum" else EXACT
        exclusive = "exclusive" + side.capitalize()
        for keyword in (side, exclusive):
            value = part.schema.get(keyword)
            if isinstance(value, bool) or value is None:  # draft 4 says with a boolean what `minimum` means
                continue
            bound = value
            if abs(value) <= EXACT:
                is_exclusive = keyword == exclusive or part.schema.get(exclusive) is True
                bound = drawn_in(value, side, is_exclusive=is_exclusive, is_integer=is_integer)
            if abs(bound) > EXACT and (bound > 0) == (far > 0):
                bound = far
            if abs(bound) > EXACT:
                raise part.refuse(keyword, f"numbers beyond {value} have no one spelling; {EXACT} is the limit.")
            out[side] = tighter(out.get(side, bound), bound)
    if "multipleOf" in part.schema:
        out["multipleOf"] = part.schema["multipleOf"]


def read_pattern(part: Part, keyword: str, pattern: str) -> str:
    try:
        return to_rust(pattern)
    except ValueError as error:
        raise part.refuse(keyword, f"{error} in '{pattern[:80]}'.") from None


def read_text(part: Part, out: dict[str, Any]) -> list[dict[str, Any]]:
    """What `pattern` and `format` ask of a string, as schemas. A format that the compiler has stays in `out`."""
    every: list[dict[str, Any]] = []
    if part.has("pattern") and (pattern := read_pattern(part, "pattern", part.schema["pattern"])):
        every.append({"pattern": pattern})
    if part.has("format"):
        name = part.schema["format"]
        if name in FORMATS:
            out["format"] = name
        elif name in WRITTEN:
            every.append(dict(WRITTEN[name]))
            if out.get("maxLength", 0) >= LONGEST.get(name, inf):
                del out["maxLength"]  # it says nothing, and costs the compiler much
        else:
            raise part.refuse("format", f"'{name}' is none of {', '.join(sorted({*FORMATS, *WRITTEN}))}.")
    return every
