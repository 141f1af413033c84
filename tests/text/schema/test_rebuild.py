"""Rewritten schemas and patterns, schemas that cannot be enforced, and validation."""

from __future__ import annotations

import json
from typing import Any

import pytest

from crossette.text.schema.ecma_regex import to_rust
from crossette.text.schema.part import Unenforceable
from crossette.text.schema.rebuild import MAX_BRANCHES, MAX_PARTS, enforceable
from crossette.text.schema.validator import JsonValidator

FLAG = {"type": "boolean"}


def rebuilt(schema: Any) -> Any:
    """The rewritten schema without its pointers and the notation of JSON."""

    def bare(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: bare(inner) for key, inner in value.items() if key not in ("$comment", "x-guidance")}
        return [bare(inner) for inner in value] if isinstance(value, list) else value

    return bare(enforceable(schema).schema)


def test_annotations_are_dropped_and_other_keywords_stay() -> None:
    annotations = {"title": "t", "description": "d", "default": 1, "examples": [1], "x-order": 2, "readOnly": True}

    assert rebuilt({**annotations, "type": "integer", "minimum": 1}) == {"type": "integer", "minimum": 1}


@pytest.mark.parametrize(
    ("schema", "closed"),
    [
        ({"type": "object"}, False),
        ({"type": "object", "properties": {"a": FLAG}}, True),
        ({"type": "object", "patternProperties": {"^a": FLAG}}, True),
        ({"type": "object", "properties": {"a": FLAG}, "additionalProperties": True}, False),
        ({"type": "object", "unevaluatedProperties": False}, True),
    ],
)
def test_an_object_with_properties_is_closed_by_default(schema: Any, closed: bool) -> None:
    assert (rebuilt(schema).get("additionalProperties") is False) == closed


def test_schemas_of_one_object_are_closed_together() -> None:
    one, two = ({"type": "object", "properties": {name: FLAG}} for name in "ab")

    first, second = rebuilt({"allOf": [one, two]})["allOf"]

    assert first == {"type": "object", "properties": {"a": FLAG, "b": True}, "additionalProperties": False}
    assert second == {"type": "object", "properties": {"b": FLAG, "a": True}, "additionalProperties": False}


def properties_of(*names: str) -> Any:
    return {"type": "object", "properties": dict.fromkeys(names, FLAG)}


@pytest.mark.parametrize(
    "schema",
    [
        {"allOf": [properties_of("z", "y"), properties_of("x"), {"required": ["w"]}]},
        {"anyOf": [properties_of("z", "y")], **properties_of("x", "w")},
        {"allOf": [{"required": ["w", "x"]}, properties_of("z", "y", "x")]},
        {**properties_of("z", "y"), "required": ["w", "y"], "allOf": [properties_of("x")]},
        {**properties_of("z", "y", "x"), "dependentRequired": {"w": ["z"]}},
    ],
)
def test_names_that_several_schemas_know_keep_the_order_of_the_schema(schema: Any) -> None:
    enforced = rebuilt(schema)
    first = next(one for one in (enforced, *enforced.get("allOf", ())) if "properties" in one)

    assert list(first["properties"]) == ["z", "y", "x", "w"]


def test_a_reference_next_to_properties_knows_their_names() -> None:
    base = {"type": "object", "properties": {"id": FLAG}}
    beside = {"$ref": "#/$defs/base", "properties": {"own": FLAG}, "$defs": {"base": base}}
    alone = {"$ref": "#/$defs/base", "$defs": {"base": base}}

    assert rebuilt(beside)["allOf"][0]["properties"] == {"id": FLAG, "own": True}
    assert rebuilt(alone) == {"$ref": "#/$defs/0", "$defs": {"0": {**base, "additionalProperties": False}}}


def test_only_referenced_definitions_must_be_enforceable() -> None:
    assert rebuilt({"type": "null", "$defs": {"a": {"not": FLAG}}}) == {"type": "null"}


@pytest.mark.parametrize(
    ("sent", "bounds"),
    [
        ({"minimum": -(2**63), "maximum": 2**63 - 1}, {"minimum": -(2**53), "maximum": 2**53}),
        ({"minimum": 3, "exclusiveMinimum": True}, {"minimum": 3.00000000000001}),
        ({"minimum": 3, "exclusiveMinimum": False}, {"minimum": 3}),
        ({"exclusiveMinimum": 0, "maximum": 10}, {"minimum": 1e-15, "maximum": 10}),
        ({"type": "integer", "exclusiveMinimum": 3, "maximum": 7.5}, {"type": "integer", "minimum": 4, "maximum": 7}),
        ({"minimum": 2, "exclusiveMinimum": 3}, {"minimum": 3.00000000000001}),
        ({"maximum": 11, "exclusiveMaximum": 12}, {"maximum": 11}),
        (
            {"minimum": 0.1 + 0.2, "maximum": 3.1},
            {"minimum": 0.300000000000001, "maximum": 3.1},
        ),
    ],
)
def test_bounds_are_tightened_to_numbers_that_are_parsed_exactly(sent: Any, bounds: Any) -> None:
    assert rebuilt(sent) == bounds


@pytest.mark.parametrize(
    "schema",
    [
        {"anyOf": [{"const": number} for number in range(MAX_BRANCHES + 1)]},
        {"type": "object", "properties": {str(number): FLAG for number in range(MAX_BRANCHES + 1)}},
        {"type": "array", "prefixItems": [FLAG] * MAX_PARTS},
        {"$ref": "#/$defs/0", "$defs": {str(n): {"$ref": f"#/$defs/{n + 1}"} for n in range(2000)}},
    ],
)
def test_a_schema_that_is_too_large_is_rejected(schema: Any) -> None:
    with pytest.raises(Unenforceable):
        enforceable(schema)


def test_a_schema_that_doubles_at_each_reference_is_rejected() -> None:
    doubling = {str(n): {"properties": {f"p{n}": FLAG}, "allOf": [{"$ref": f"#/$defs/{n + 1}"}] * 2} for n in range(20)}
    last = {"20": {"properties": {"last": FLAG}}}

    with pytest.raises(Unenforceable, match="parts"):
        enforceable({"properties": {"a": FLAG}, "$ref": "#/$defs/0", "$defs": {**doubling, **last}})


@pytest.mark.parametrize("token", ["-1", "01", "1_0", " 1", "+1", "\u0661", "%201", "2", ""])
def test_a_reference_into_a_list_has_the_index_of_a_json_pointer(token: str) -> None:
    items = {"type": "array", "prefixItems": [FLAG, {"type": "integer"}], "minItems": 2, "maxItems": 2}

    with pytest.raises(Unenforceable, match="the schema has nothing at"):
        enforceable({"properties": {"a": items, "b": {"$ref": f"#/properties/a/prefixItems/{token}"}}}, strict=True)


@pytest.mark.slow
def test_alternatives_without_a_discriminator_are_compared_up_to_a_limit() -> None:
    def schema(num: int, kind: Any) -> Any:
        return {"oneOf": [{"type": "object", "properties": {"k": kind(n)}, "required": ["k"]} for n in range(num)]}

    def by_tag(n: int) -> Any:
        return {"const": n}

    def deeper(n: int) -> Any:
        return {"type": "object", "properties": {"k": by_tag(n)}, "required": ["k"]}

    assert len(enforceable(schema(MAX_BRANCHES, by_tag), strict=True).schema["anyOf"]) == MAX_BRANCHES
    assert len(enforceable(schema(50, deeper), strict=True).schema["anyOf"]) == 50
    with pytest.raises(Unenforceable, match="too many to compare"):
        enforceable(schema(MAX_BRANCHES, deeper), strict=True)


# --- patterns ---


@pytest.mark.parametrize(
    ("pattern", "rust"),
    [
        (r"^\d\D$", "^[0-9][^0-9]$"),
        (r"[\w-]", r"[A-Za-z0-9_\x{2d}]"),
        ("[a-c]", r"[\x{61}-\x{63}]"),
        ("[^a&&b]", r"[^\x{61}\x{26}\x{26}\x{62}]"),
        ("[[a]", r"[\x{5b}\x{61}]"),
        ("[+--]", r"[\x{2b}-\x{2d}]"),
        ("[^]", "(?s:.)"),
        (r"\u{1F600}\u00e9\x41\cA\/", r"\x{1f600}\x{e9}\x{41}\x{1}\x{2f}"),
        (".", r"[^\n\r\x{2028}\x{2029}]"),
        (r"\p{Lu}(?<n>a|b)+?", r"\p{Lu}(?<n>a|b)+?"),
    ],
)
def test_character_classes_are_expanded(pattern: str, rust: str) -> None:
    assert to_rust(pattern) == rust


def test_an_unterminated_class_is_rejected() -> None:
    with pytest.raises(ValueError, match="unterminated"):
        to_rust("[a")


# --- validation ---


@pytest.mark.parametrize(
    ("schema", "text", "fault"),
    [
        ({"type": "integer"}, "3", None),
        ({"type": "integer"}, "3.5", "is not of type"),
        ({"type": "integer"}, "3 4", "not JSON"),
        ({"type": "number"}, "NaN", "not JSON"),
        ({"type": "number"}, "1e999999999999999999999", None),
        ({"type": "integer"}, "9" * 5000, None),
        ({"multipleOf": 0.01}, "0.07", None),
        ({"properties": {"a": {"maxLength": 1}}}, '{"a": "bb"}', "at '/a'"),
        ({"format": "date"}, '"2023-02-29"', "date"),
        ({"pattern": "^(a+)+$"}, json.dumps("a" * 5000 + "b"), "match"),
    ],
)
def test_the_validator_finds_texts_that_violate_the_schema(schema: Any, text: str, fault: str | None) -> None:
    found = JsonValidator(schema).fault(text)

    assert (found is None) == (fault is None)
    assert fault is None or fault in str(found)


@pytest.mark.parametrize("schema", [None, 5, 1.5, "x", "{}", [], [{}]])
def test_a_schema_is_an_object_or_a_boolean(schema: Any) -> None:
    with pytest.raises(ValueError, match="a schema is an object, true or false"):
        JsonValidator(schema)


@pytest.mark.parametrize(
    "schema", [{"type": 7}, {"minLength": -1}, {"$ref": "https://example.com"}, {"$schema": "x:y"}]
)
def test_an_invalid_schema_is_rejected(schema: Any) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        JsonValidator(schema)
