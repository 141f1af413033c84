"""The keywords of JSON Schema: which are enforced, which are rewritten, and which are annotations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from crossette.text.schema.part import Context, Part

ANNOTATIONS: Final = frozenset(
    {"title", "description", "default", "example", "examples", "deprecated", "readOnly", "writeOnly", "discriminator"}
    | {"$schema", "$id", "id", "$anchor", "$dynamicAnchor", "$recursiveAnchor", "$defs", "definitions", "$vocabulary"}
    | {"$comment", "contentEncoding", "contentMediaType", "contentSchema", "xml", "externalDocs"}
)
"""Keywords that no value can violate. `discriminator` only repeats `oneOf`."""

IN_PLACE: Final = ("allOf", "anyOf", "oneOf", "$ref")
"""In-place applicators: keywords with further schemas of the same value."""

COPIED: Final = frozenset(
    {"type", "enum", "const", "minLength", "maxLength", "minItems", "maxItems"}
    | {"required", "minProperties", "maxProperties"}
)
"""Keywords that the compiler enforces as they are."""

REWRITTEN: Final = frozenset(
    {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "pattern", "format"}
    | {"items", "prefixItems", "additionalItems", "properties", "patternProperties", "additionalProperties"}
    | {*IN_PLACE, "unevaluatedProperties"}
)
"""Keywords that are rewritten for the compiler, or limited to values that can be enforced."""


@dataclass(frozen=True, slots=True)
class Limited:
    """A keyword that a grammar enforces in some schemas only. In the others it is checked, or refused if strict."""

    enforced: str
    """When it is enforced, for the documentation."""
    advice: str = ""
    """What to send instead, for errors; "" where the error depends on the value."""


_CASES: Final = "describe the cases by 'anyOf'."

REPLACED: Final = {
    "not": Limited("if other keywords describe the rest", "describe the allowed values instead."),
    "if": Limited("if other keywords describe when the condition does not hold", _CASES),
    "dependentRequired": Limited("up to six for each object", _CASES),
    "dependentSchemas": Limited("up to six for each object", _CASES),
    "dependencies": Limited("up to six for each object", _CASES),
    "propertyNames": Limited(
        "names in a list, of one pattern, or of an object with listed properties only",
        "send {'type': 'string'}, or describe the names by 'patternProperties'.",
    ),
    "uniqueItems": Limited(
        "items of up to four listed strings or booleans", "a grammar cannot compare items; omit it, or send false."
    ),
    "contains": Limited(
        "as one of the first eight items, two for each array",
        "a grammar cannot look for an item; describe the items by 'prefixItems'.",
    ),
    "minContains": Limited("0 and 1", "a grammar cannot count some of the items; omit it."),
    "maxContains": Limited("never", "a grammar cannot count some of the items; omit it."),
    "unevaluatedItems": Limited("never", "describe the items by 'items'."),
    "$dynamicRef": Limited("never", "send '$ref'."),
    "$recursiveRef": Limited("never", "send '$ref'."),
}
"""Keywords that are enforced where other keywords say the same."""

LIMITED: Final = {
    "oneOf": Limited(
        "if its alternatives certainly exclude each other, or are up to four whose complement other keywords describe; "
        "else as `anyOf`"
    ),
    "pattern": Limited(
        "regular expressions, look-ahead at the start, look-behind at the end, and `\\b` next to a word at either end"
    ),
    "minLength": Limited("yes; next to a `pattern` if the compiler can combine the two"),
    "maxLength": Limited("yes; next to a `pattern` if the compiler can combine the two"),
    "format": Limited("formats of the table below"),
    "multipleOf": Limited("if the least common multiple of all of them has at most 10,000 steps"),
    "minProperties": Limited("1, or up to 64 sets of names that have as many"),
    "maxProperties": Limited("if there are no optional properties, or up to 64 sets of names that have as many"),
    "patternProperties": Limited("if no name matches two of the patterns"),
    "enum": Limited("strings without control characters, and numbers that are exact in JSON"),
    "const": Limited("strings without control characters, and numbers that are exact in JSON"),
    "minimum": Limited("up to 2**53"),
    "maximum": Limited("up to 2**53"),
    "exclusiveMinimum": Limited("up to 2**53"),
    "exclusiveMaximum": Limited("up to 2**53"),
    "prefixItems": Limited("in drafts that know it, or without `$schema`"),
    "unevaluatedProperties": Limited("if no schema of the same object allows additional properties"),
}
"""Keywords of `COPIED` and `REWRITTEN` that cannot always be enforced."""

NO_EFFECT_ALONE: Final = {
    "then": "if",
    "else": "if",
    "minContains": "contains",
    "maxContains": "contains",
    "nullable": "type",
}
"""Keywords that only have a meaning next to another one."""

MEANINGFUL: Final = frozenset({*COPIED, *REWRITTEN, *REPLACED, "nullable"})
"""Keywords that a value may violate."""

_KNOWN: Final = {*ANNOTATIONS, *COPIED, *REWRITTEN, *REPLACED, *NO_EFFECT_ALONE}
_SHORTEST_MISSPELLED: Final = 5
"""Names shorter than this are one edit away from too many words."""

_SPELLED: Final = {
    known for known in _KNOWN - ANNOTATIONS if len(known) >= _SHORTEST_MISSPELLED and not known.startswith("$")
} | {"type", "enum"}


def has_no_effect(part: Part, keyword: str, context: Context) -> bool:
    """Whether the value of a keyword of `REPLACED` is one that every output matches."""
    value = part.schema[keyword]
    match keyword:
        case "uniqueItems":
            return value is False
        case "propertyNames":  # some schema generators always send it
            return value is True or value in ({}, {"type": "string"})
        case "if":
            return not (part.has("then") or part.has("else"))
        case "minContains" | "maxContains":
            return not part.has("contains") or (keyword == "minContains" and value in (0, 1))
        case "contains":
            return bool(part.schema.get("minContains") == 0) and not context.ignores(part, "minContains")
        case "unevaluatedItems":
            return value is True or value == {}
        case "dependentRequired" | "dependentSchemas" | "dependencies":
            return not value
    return False


def misspelled(name: str) -> str | None:
    """The keyword that an unknown name is one edit away from; None if there is none."""
    if len(name) < _SHORTEST_MISSPELLED - 1 or name in _KNOWN or name.startswith(("x-", "$", "_")):
        return None
    return next((known for known in sorted(_SPELLED) if _is_one_edit(name, known)), None)


def _is_one_edit(one: str, other: str) -> bool:
    """Whether a character inserted, dropped, replaced or swapped with the next makes one name the other."""
    if len(one) > len(other):
        one, other = other, one
    start = next((index for index, char in enumerate(one) if char != other[index]), len(one))
    rest, other_rest = one[start:], other[start:]
    if len(one) < len(other):
        return len(other) == len(one) + 1 and rest == other_rest[1:]
    return rest[1:] == other_rest[1:] or (rest[:2] == other_rest[:2][::-1] and rest[2:] == other_rest[2:])
