"""The keywords of a JSON schema that can be enforced, and the values that they may have."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, Final

from crossette.text.schema.ecma_regex import to_rust
from crossette.text.schema.formats import FORMAT_SCHEMAS, FORMATS, LONGEST
from crossette.text.schema.numbers import EXACT, Side, is_exact, tightened

Schema = Any
"""A JSON schema: an object, true or false. Any JSON until it is validated."""

Names = frozenset[str] | None
"""The property names that the schemas of one value know together; None if they know any name."""

ANNOTATIONS: Final = frozenset(
    {"title", "description", "default", "example", "examples", "deprecated", "readOnly", "writeOnly", "discriminator"}
    | {"$schema", "$comment", "$anchor", "$defs", "definitions"}
)
"""Keywords that no value can violate, as are names that begin with `x-`. `discriminator` only repeats `oneOf`."""

IN_PLACE: Final = ("allOf", "anyOf", "oneOf", "$ref")
"""In-place applicators: keywords with further schemas of the same value."""

COPIED: Final = frozenset(
    {"type", "enum", "const", "minLength", "maxLength", "minItems", "maxItems"}
    | {"required", "minProperties", "maxProperties"}
)
REWRITTEN: Final = frozenset(
    {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "pattern", "format"}
    | {"items", "prefixItems", "additionalItems", "properties", "patternProperties", "additionalProperties"}
    | {*IN_PLACE, "unevaluatedProperties"}
)
"""Keywords that are rewritten for the compiler, or limited to values that can be enforced."""

MAX_STEP = 10_000
"""The limit on the least common multiple of all `multipleOf`: the compiler has a state for each remainder."""

ADVICE = {
    "uniqueItems": "a grammar cannot compare items; omit it, or send false.",
    "propertyNames": "send {'type': 'string'}, or describe the names by 'patternProperties'.",
    "not": "describe the allowed values instead.",
    "if": "describe the cases by 'anyOf'.",
    "then": "describe the cases by 'anyOf'.",
    "else": "describe the cases by 'anyOf'.",
    "nullable": "add 'null' to 'type' instead.",
    "$id": "only the root schema may have one.",
}


class Unenforceable(ValueError):
    """A schema that cannot be enforced. `str(error)` names the keyword and its JSON pointer."""


@dataclass(frozen=True, slots=True)
class Part:
    """A subschema and its JSON pointer."""

    schema: Schema
    pointer: str

    def at(self, *steps: str | int) -> Part:
        """The subschema at these keys and indices."""
        found, pointer = self.schema, self.pointer
        for step in steps:
            found = found[step]
            pointer += "/" + str(step).replace("~", "~0").replace("/", "~1")
        return Part(found, pointer)

    def has(self, keyword: str) -> bool:
        return isinstance(self.schema, dict) and keyword in self.schema

    def members(self, keyword: str) -> list[Part]:
        """The subschemas of a keyword whose value is a list or an object of schemas."""
        if not self.has(keyword):
            return []
        value = self.schema[keyword]
        return [self.at(keyword, step) for step in (value if isinstance(value, dict) else range(len(value)))]

    def error(self, keyword: str, reason: str) -> Unenforceable:
        return Unenforceable(f"'{keyword}' at '{self.pointer}/{keyword}': {reason}")


def uses_draft(part: Part, drafts: Sequence[str]) -> bool:
    """Whether its `$schema` is one of these drafts."""
    return part.has("$schema") and any(draft in str(part.schema["$schema"]) for draft in drafts)


def has_no_effect(part: Part, keyword: str, value: Any) -> bool:
    """Whether an unenforced keyword is an annotation, or has a value that every output matches."""
    match keyword:
        case "uniqueItems" | "nullable":
            return value is False
        case "propertyNames":  # some schema generators always send it
            return value is True or value in ({}, {"type": "string"})
        case "$id":
            return not part.pointer
    return keyword in ANNOTATIONS or keyword.startswith("x-")


def check_values(part: Part) -> None:
    """Raise Unenforceable for values whose text the grammar cannot generate."""
    for keyword in ("enum", "const"):
        if part.has(keyword):
            for value in _leaves(part.schema[keyword]):
                if isinstance(value, str):
                    check_writable(part, keyword, value)
                elif not isinstance(value, bool | None) and not is_exact(value):
                    raise part.error(keyword, f"{value} is too large, or has too many digits, to be exact in JSON.")


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        yield from (leaf for item in value for leaf in _leaves(item))
    elif isinstance(value, dict):
        yield from (leaf for pair in value.items() for leaf in _leaves(list(pair)))
    else:
        yield value


def check_writable(part: Part, keyword: str, text: str) -> None:
    """Raise Unenforceable for a string that the grammar cannot generate."""
    if any(
        (char < " " and char not in "\b\f\n\r\t") or "\x7f" <= char < "\x80" or "\ud800" <= char < "\ue000"
        for char in text
    ):
        raise part.error(keyword, f"{text[:40]!r} contains a control character or half a surrogate pair.")


_TIGHTER: Final[dict[Side, Callable[[float, float], float]]] = {"minimum": max, "maximum": min}


def read_bounds(part: Part, out: dict[str, Any]) -> None:
    """Copy the bounds of a number as inclusive bounds. Bounds beyond 2**53 become 2**53: its numbers match both.

    Raises Unenforceable if no number up to 2**53 is within the bounds.
    """
    is_integer = part.schema.get("type") == "integer"
    for side, tighter in _TIGHTER.items():
        limit = -EXACT if side == "minimum" else EXACT
        exclusive = "exclusive" + side.capitalize()
        for keyword in (side, exclusive):
            value = part.schema.get(keyword)
            if isinstance(value, bool) or value is None:  # in draft 4 a boolean that belongs to `minimum`
                continue
            bound = value
            if abs(value) <= EXACT:
                is_exclusive = keyword == exclusive or part.schema.get(exclusive) is True
                bound = tightened(value, side, is_exclusive=is_exclusive, is_integer=is_integer)
            if abs(bound) > EXACT and (bound > 0) == (limit > 0):
                bound = limit
            if abs(bound) > EXACT:
                raise part.error(keyword, f"numbers beyond {value} are not exact in JSON; {EXACT} is the limit.")
            out[side] = tighter(out.get(side, bound), bound)
    if "multipleOf" in part.schema:
        out["multipleOf"] = part.schema["multipleOf"]


def read_pattern(part: Part, keyword: str, pattern: str) -> str:
    """Translate a pattern to Rust's syntax. Raises Unenforceable for an invalid one."""
    try:
        return to_rust(pattern)
    except ValueError as error:
        raise part.error(keyword, f"{error} in '{pattern[:80]}'.") from None


def read_text(part: Part, out: dict[str, Any]) -> list[dict[str, Any]]:
    """The schemas of `pattern` and `format`. A format that the compiler implements is copied to `out`."""
    schemas: list[dict[str, Any]] = []
    if part.has("pattern") and (pattern := read_pattern(part, "pattern", part.schema["pattern"])):
        schemas.append({"pattern": pattern})
    if part.has("format"):
        name = part.schema["format"]
        if name in FORMATS:
            out["format"] = name
        elif name in FORMAT_SCHEMAS:
            schemas.append(dict(FORMAT_SCHEMAS[name]))
            if out.get("maxLength", 0) >= LONGEST.get(name, inf):
                del out["maxLength"]  # no effect, but slow to compile
        else:
            raise part.error("format", f"'{name}' is not one of {', '.join(sorted({*FORMATS, *FORMAT_SCHEMAS}))}.")
    return schemas
