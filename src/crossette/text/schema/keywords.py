"""The keywords of JSON Schema: which are enforced, which are rewritten, and which are annotations."""

from __future__ import annotations

from typing import Final

from crossette.text.schema.part import Part

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

ADVICE: Final = {
    "uniqueItems": "a grammar cannot compare items; omit it, or send false.",
    "contains": "a grammar cannot look for an item; describe the items by 'prefixItems'.",
    "minContains": "a grammar cannot count some of the items; omit it.",
    "maxContains": "a grammar cannot count some of the items; omit it.",
    "unevaluatedItems": "describe the items by 'items'.",
    "propertyNames": "send {'type': 'string'}, or describe the names by 'patternProperties'.",
    "dependentRequired": "describe the cases by 'anyOf'.",
    "dependentSchemas": "describe the cases by 'anyOf'.",
    "dependencies": "describe the cases by 'anyOf'.",
    "not": "describe the allowed values instead.",
    "if": "describe the cases by 'anyOf'.",
    "$dynamicRef": "send '$ref'.",
    "$recursiveRef": "send '$ref'.",
}
"""Keywords that are enforced where other keywords say the same, and otherwise only checked; and what to send."""

WITHOUT_EFFECT_ALONE: Final = {
    "then": "if",
    "else": "if",
    "minContains": "contains",
    "maxContains": "contains",
    "nullable": "type",
}
"""Keywords that only have a meaning next to another one."""

_KNOWN: Final = {*ANNOTATIONS, *COPIED, *REWRITTEN, *ADVICE, *WITHOUT_EFFECT_ALONE}
_SHORTEST_MISSPELLED: Final = 5
"""Names shorter than this are one edit away from too many words."""


def has_no_effect(part: Part, keyword: str) -> bool:
    """Whether the value of a keyword of `ADVICE` is one that every output matches."""
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
            return bool(part.schema.get("minContains") == 0)
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


_SPELLED: Final = {
    known for known in _KNOWN - ANNOTATIONS if len(known) >= _SHORTEST_MISSPELLED and not known.startswith("$")
} | {"type", "enum"}


def _is_one_edit(one: str, other: str) -> bool:
    """Whether a character inserted, dropped, replaced or swapped with the next makes one name the other."""
    if len(one) > len(other):
        one, other = other, one
    start = next((index for index, char in enumerate(one) if char != other[index]), len(one))
    rest, other_rest = one[start:], other[start:]
    if len(one) < len(other):
        return len(other) == len(one) + 1 and rest == other_rest[1:]
    return rest[1:] == other_rest[1:] or (rest[:2] == other_rest[:2][::-1] and rest[2:] == other_rest[2:])
