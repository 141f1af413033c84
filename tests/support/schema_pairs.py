"""Schemas of every enforced keyword with extreme values, alone and in pairs, in every draft."""

from __future__ import annotations

from typing import Any, Final

from hypothesis import strategies as st

from support.schema_corpus import DRAFTS, Schema

Strategy = st.SearchStrategy[Any]  # Any: JSON

PATTERNS: Final = (
    *("^[a-z]{1,4}$", "x", "^(a|b)*c$", r"^\d{2}-\w+$", "^.{0,5}$", r"^\p{Lu}\p{Ll}*$", "", r"\d$", r"^\S+@\S+$"),
    *(r"^[^\W\d_]+$", r"^\s*$", r"^[\u{1F600}-\u{1F64F}]+$", r"^(?:[a-z]+\.)*[a-z]+$", r"[\s\S]", r"^\P{L}+$"),
    *(r"^[0-9]{1,3}(,[0-9]{3})*$", r"^[\]\[\-^]{2}$", r"^#[0-9a-fA-F]{6}$", "^[^a]*$", r"^\p{Script=Greek}+$"),
)
FORMATS: Final = (
    *("date", "time", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "uri", "uuid"),
    *("json-pointer", "relative-json-pointer", "base64", "base64url", "e164", "uri-reference"),
)
ASSERTIONS: Final = (
    *(r"^(?!a)[a-c]*$", r"^(?=.*b)[a-c]{1,6}$", r"\bab", r"ab\b", r"^(?!.*aa)[ab]+(?<!b)$", r"^(?!^x*$).*", "(?=a)b"),
    *(r"^(?!(?:ab|c){2})[a-c]+$", r"(?<=a)$", r"^(?!é).{1,3}$", r"^(?![^a]*[0-9])[^b]{2}$", r"(a)\1", r"^(?!\s*$)"),
)
BOUNDS: Final = (
    *(0, 1, -1, 5, 7, 100, -100, 0.5, -0.5, 0.25, -1.25, 1.1, 0.1, 99.99, 3.14159, 1e-7, -1e-15, 1e15, 123456789.125),
    *(0.1 + 0.2, 1 / 3, 99999999.99999999, 1000000000000000.1, 9007199254740991.0, 2**53, -(2**53), 10**22),
)
SMALL: Final = (
    *(True, False, {"type": "boolean"}, {"type": "integer"}, {"type": "string", "maxLength": 3}),
    *({"enum": [1, "a", None]}, {"type": "number", "minimum": 0}, {"type": "null"}),
)
VALUES: Final[tuple[Any, ...]] = (
    *(0, 1, -1, 1.0, 1.5, 0.1, -0.0, 1e18, 1e20, 123456789012, 1e-7, "a", "", "é", "x" * 70, "a@b.c", '\n\t"\\'),
    *(None, True, False, [], {}, [1, [2]], [1.0], {"a": {"b": 1}}, {"a": None, "b": []}),
)

_small = st.sampled_from(SMALL)
_sizes = st.sampled_from([0, 1, 2, 3, 5, 40])
_bounds = st.sampled_from(BOUNDS)
_lengths = st.sampled_from([0, 1, 2, 5, 63, 64, 65, 254, 300])
_dependent = st.dictionaries(
    st.sampled_from(["a", "b", "z"]), st.lists(st.sampled_from(["a", "b", "z"]), max_size=2, unique=True), max_size=2
)
_STRINGS: Final[dict[str, Strategy]] = {
    "minLength": _lengths,
    "maxLength": _lengths,
    "pattern": st.sampled_from(PATTERNS + ASSERTIONS),
    "format": st.sampled_from([*FORMATS, "uuid4", "password", "int32", "regex"]),
    "not": st.sampled_from(
        [{"pattern": pattern} for pattern in PATTERNS]
        + [
            {"enum": ["a", "", "ab"]},
            {"const": "é"},
            {"minLength": 3},
            {"maxLength": 1},
            {"type": "string", "minLength": 2},
        ]
        + [{"anyOf": [{"const": "a"}, {"minLength": 4}]}, {"allOf": [{"pattern": "a"}, {"maxLength": 2}]}]
    ),
    "nullable": st.booleans(),
    "if": st.sampled_from([{"minLength": 3}, {"pattern": "^a"}, {"type": "null"}]),
    "then": st.sampled_from([{"maxLength": 5}, {"pattern": "b$"}, False]),
    "else": st.sampled_from([{"minLength": 1}, {"const": "a"}, True]),
}
_NUMBERS: Final[dict[str, Strategy]] = {
    "minimum": _bounds,
    "maximum": _bounds,
    "exclusiveMinimum": _bounds,
    "exclusiveMaximum": _bounds,
    "multipleOf": st.sampled_from([1, 2, 5, 0.1, 0.25, 0.01, 3, 7, 100, 1e-4, 2.5, 1.1, 1e3]),
    "format": st.sampled_from(["int8", "int32", "int64", "uint", "uint16", "double", "date"]),
    "not": st.sampled_from([*({keyword: bound} for keyword in ("minimum", "exclusiveMaximum") for bound in BOUNDS)])
    | st.lists(_bounds, min_size=1, max_size=4).map(lambda values: {"enum": values})
    | st.sampled_from([{"const": 5}, {"type": "integer"}, {"type": "string"}, {"multipleOf": 2}, {"const": -0.0}]),
    "if": st.sampled_from([{"minimum": 5}, {"const": 7}, {"type": "string"}]),
    "then": st.sampled_from([{"maximum": 100}, {"multipleOf": 5}]),
}
_ARRAYS: Final[dict[str, Strategy]] = {
    "items": _small,
    "prefixItems": st.lists(_small, min_size=1, max_size=2),
    "minItems": _sizes,
    "maxItems": _sizes,
    "contains": _small,
    "minContains": st.sampled_from([0, 1, 2]),
    "uniqueItems": st.booleans(),
    "not": st.sampled_from([{"minItems": 2}, {"maxItems": 1}, {"items": {"type": "string"}}, {"const": []}]),
    "additionalItems": _small,
}
_OBJECTS: Final[dict[str, Strategy]] = {
    "properties": st.dictionaries(st.sampled_from(["a", "b", "c d", "", "é", '"q"', "\\", "a\nb"]), _small, max_size=3),
    "required": st.lists(st.sampled_from(["a", "b", "c d", "z"]), max_size=2, unique=True),
    "additionalProperties": _small,
    "patternProperties": st.dictionaries(
        st.sampled_from(["^a", "b$", "^ab", "^x-", *PATTERNS[:3]]), _small, max_size=2
    ),
    "minProperties": _sizes,
    "maxProperties": _sizes,
    "unevaluatedProperties": st.just(False),
    "propertyNames": st.sampled_from(
        (
            *(True, False, {"enum": ["a", "b", "z"]}, {"pattern": "^[a-c]"}, {"maxLength": 1}, {"not": {"const": "a"}}),
            *({"not": {"pattern": "b$"}}, {"format": "date"}, {"minLength": 1, "pattern": "a"}),
        )
    ),
    "dependentRequired": _dependent,
    "dependencies": _dependent
    | st.sampled_from([{"a": {"required": ["b"]}}, {"b": False}, {"a": {"minProperties": 3}}]),
    "dependentSchemas": st.sampled_from([{"a": {"properties": {"b": False}}}, {"z": {"required": ["a"]}}]),
    "not": st.sampled_from(
        [{"required": ["a"]}, {"required": ["a", "z"]}, {"properties": {"a": {"type": "string"}}}, {"minProperties": 1}]
    ),
    "if": st.sampled_from([{"required": ["a"]}, {"properties": {"a": {"const": True}}}, {"minProperties": 2}]),
    "then": st.sampled_from([{"required": ["b"]}, {"properties": {"b": {"type": "integer"}}}]),
    "else": st.sampled_from([{"required": ["z"]}, {"maxProperties": 1}]),
}
KEYWORDS: Final[dict[str, dict[str, Strategy]]] = {
    "string": _STRINGS,
    "number": _NUMBERS,
    "integer": _NUMBERS,
    "array": _ARRAYS,
    "object": _OBJECTS,
}
"""By the type of the values that they apply to."""


@st.composite
def several(draw: st.DrawFn, kind: str, most: int = 2) -> dict[str, Any]:
    """One or two keywords for values of a type."""
    known = KEYWORDS[kind]
    names = draw(st.lists(st.sampled_from(sorted(known)), min_size=1, max_size=most, unique=True))
    typed = {"type": kind} if draw(st.integers(0, 4)) else {}
    return {**typed, **{name: draw(known[name]) for name in names}}


@st.composite
def schemas_of_pairs(draw: st.DrawFn) -> Schema:
    """Two keywords of one value: in one schema, or in two schemas that a third one combines."""
    kind = draw(st.sampled_from(sorted(KEYWORDS)))
    other = draw(st.sampled_from([kind, kind, kind, *sorted(KEYWORDS)]))
    one, two = draw(several(kind)), draw(several(other))
    enums = st.lists(st.sampled_from(VALUES), min_size=1, max_size=4)
    schema = draw(
        st.just(one)
        | st.sampled_from(["allOf", "anyOf", "oneOf"]).map(lambda keyword: {keyword: [one, two]})
        | st.sampled_from(["allOf", "anyOf", "oneOf"]).map(lambda keyword: {**one, keyword: [two, {"type": kind}]})
        | st.just({"$ref": "#/$defs/one", **two})
        | st.just({**one, **two, "type": sorted({kind, other, "null"})})
        | enums.map(lambda values: {**one, "enum": values})
        | st.sampled_from(VALUES).map(lambda value: {**one, "const": value})
    )
    if draw(st.booleans()):
        schema = {"type": "object", "properties": {"v": schema}, "required": ["v"]}
    draft = draw(st.none() | st.sampled_from(sorted(DRAFTS.values())))
    return {**({"$schema": draft} if draft else {}), **schema, "$defs": {"one": one}}
