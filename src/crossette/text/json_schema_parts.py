"""A part of a JSON schema, which keywords it may have, and what they may say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from crossette.text.ecma_regex import to_rust
from crossette.text.json_formats import FORMATS, PATTERNS

Schema = Any
"""A schema is a JSON object, true or false: any JSON until it was looked at."""

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

EXACT: Final = 2**53
"""Up to here every integer is a number of its own in all readers of JSON, and in the compiler."""

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
                elif not isinstance(value, bool | None) and not _is_exact(value):
                    raise part.refuse(keyword, f"{value} has more digits than all readers of JSON keep.")


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        yield from (leaf for item in value for leaf in _leaves(item))
    elif isinstance(value, dict):
        yield from (leaf for pair in value.items() for leaf in _leaves(list(pair)))
    else:
        yield value


def _is_exact(number: float) -> bool:
    """Whether the compiler writes the number that was sent: it reads others as one of their neighbours."""
    if isinstance(number, int) and abs(number) <= EXACT:
        return True
    _, digits, exponent = Decimal(repr(number)).normalize().as_tuple()
    return len(digits) <= 15 and abs(int(exponent)) <= 22


def check_writable(part: Part, keyword: str, text: str) -> None:
    if any(
        (char < " " and char not in "\b\f\n\r\t") or "\x7f" <= char < "\x80" or "\ud800" <= char < "\ue000"
        for char in text
    ):
        raise part.refuse(keyword, f"{text[:40]!r} has a control character or half a surrogate pair.")


_TIGHTER: dict[str, Callable[[float, float], float]] = {"minimum": max, "maximum": min}


def read_bounds(part: Part, out: dict[str, Any]) -> None:
    """Bounds of numbers. Those beyond 2**53 are drawn in to it: what is written keeps to them all the same."""
    schema = part.schema
    for side, far in (("minimum", -EXACT), ("maximum", EXACT)):
        exclusive = "exclusive" + side.capitalize()
        for keyword, name in ((side, side), (exclusive, exclusive)):
            value = schema.get(keyword)
            if isinstance(value, bool) or value is None:  # draft 4 says with a boolean what `minimum` means
                continue
            name = exclusive if keyword == side and schema.get(exclusive) is True else name
            if abs(value) > EXACT and (value > 0) == (far > 0):
                out[side] = _TIGHTER[side](out.get(side, far), far)
            elif abs(value) > EXACT:
                raise part.refuse(keyword, f"numbers beyond {value} have no one spelling; {EXACT} is the limit.")
            else:
                out[name] = value
    if "multipleOf" in schema:
        out["multipleOf"] = schema["multipleOf"]


def digits_of_step(part: Part) -> int:
    """`multipleOf` without its point: 25 for 0.25, and 1 where there is none."""
    if not part.has("multipleOf"):
        return 1
    step = Decimal(repr(part.schema["multipleOf"])).normalize()
    return int(step) if step == step.to_integral_value() else int("".join(map(str, step.as_tuple().digits)))


def read_pattern(part: Part, keyword: str, pattern: str) -> str:
    try:
        return to_rust(pattern)
    except ValueError as error:
        raise part.refuse(keyword, f"{error} in '{pattern[:80]}'.") from None


def read_format(part: Part, out: dict[str, Any]) -> str:
    """The pattern of a format, or "" where the compiler has its own."""
    name = part.schema["format"]
    if name in PATTERNS:
        return PATTERNS[name]
    if name not in FORMATS:
        raise part.refuse("format", f"'{name}' is none of {', '.join(sorted({*FORMATS, *PATTERNS}))}.")
    out["format"] = name
    return ""
