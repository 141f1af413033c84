"""Schemas of fixed values allow exactly these, in keywords that client generators support."""

from __future__ import annotations

from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossette.api.docs.values import complete, exactly

VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -2, 1.5, 2.5, "", "a", "true"),
    *([], ["a"], [0], [False], [None], {}, {"a": 1}, {"a": True}, {"type": "disabled"}, {"a": {}}, {"a": ["b"]}),
)
OTHERS: tuple[Any, ...] = (
    *VALUES,
    2,
    "b",
    ["a", "a"],
    ["b"],
    {"a": 2},
    {"b": 1},
    {"a": 1, "b": 1},
    {"type": "enabled"},
    [[]],
    {"a": []},
)


@given(st.lists(st.sampled_from(range(len(VALUES))), min_size=1, max_size=6, unique=True))
def test_exactly_the_values_are_allowed(indices: list[int]) -> None:
    values = [VALUES[index] for index in indices]
    schema = exactly(values)

    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    encoded = {msgspec.json.encode(value) for value in values}
    for other in OTHERS:
        assert validator.is_valid(other) == (msgspec.json.encode(other) in encoded), (schema, other)


@pytest.mark.parametrize(
    ("values", "schema"),
    [
        ([None], {"type": "null"}),
        ([False, None], {"anyOf": [{"type": "boolean", "const": False}, {"type": "null"}]}),
        ([True, False, None], {"anyOf": [{"type": "boolean"}, {"type": "null"}]}),
        (["a", None, "b"], {"anyOf": [{"type": "string", "enum": ["a", "b"]}, {"type": "null"}]}),
        ([[]], {"type": "array", "items": {}, "minItems": 0, "maxItems": 0}),
    ],
)
def test_the_keywords(values: list[Any], schema: dict[str, Any]) -> None:
    assert exactly(values) == schema


def test_a_list_of_several_items_is_rejected() -> None:
    with pytest.raises(ValueError, match="up to one item"):
        exactly([["a", "b"]])


def test_lists_get_items_enums_their_type_and_objects_properties() -> None:
    schema = {
        "properties": {"type": {"type": "array"}, "items": {"anyOf": [{"enum": ["a"]}, {"enum": [1]}]}},
        "items": {"type": "array", "items": {"type": "array"}},
        "anyOf": [{"type": "object"}, {"type": "object", "properties": {}}, exactly([{}])],
    }

    complete(schema)

    assert schema == {
        "properties": {
            "type": {"type": "array", "items": {}},
            "items": {"anyOf": [{"type": "string", "enum": ["a"]}, {"enum": [1]}]},
        },
        "items": {"type": "array", "items": {"type": "array", "items": {}}},
        "anyOf": [
            {"type": "object", "additionalProperties": True},
            {"type": "object", "properties": {}},
            {"type": "object", "maxProperties": 0, "additionalProperties": False},
        ],
    }
