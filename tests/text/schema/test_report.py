"""What becomes of the keywords of a schema: annotations, keywords that are only checked, and faults."""

from __future__ import annotations

from typing import Any

import pytest

from crossette.text.schema.drafts import of_known_draft, of_one_draft
from crossette.text.schema.keywords import misspelled
from crossette.text.schema.part import Part, Unenforceable
from crossette.text.schema.rebuild import enforceable
from crossette.text.schema.references import References
from support.structured_output_page import PAGE, page

LIST: dict[str, Any] = {"type": "array", "uniqueItems": True}


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("additonalProperties", "additionalProperties"),
        ("addtionalProperties", "additionalProperties"),
        ("maxLenght", "maxLength"),
        ("requried", "required"),
        ("item", "items"),
        ("tpye", "type"),
        ("typ", None),
        ("enums", "enum"),
        ("minimum", None),
        ("x-format", None),
        ("_format", None),
        ("$format", None),
        ("note", None),
        ("id", None),
        ("propertyOrder", None),
        ("", None),
    ],
)
def test_a_name_one_edit_away_from_a_keyword_is_a_misspelling(name: str, meant: str | None) -> None:
    assert misspelled(name) == meant


def test_misspellings_are_noted_by_pointer_and_change_nothing() -> None:
    sent = {"type": "object", "properties": {"a~b": {"type": "string", "maxLenght": 3}}}

    enforced = enforceable(sent, strict=True)

    assert enforced.notes == ("'/properties/a~0b/maxLenght' is not a keyword. Did you mean 'maxLength'?",)
    assert enforced.checked == ()


def test_a_strict_schema_reports_all_faults() -> None:
    with pytest.raises(Unenforceable) as raised:
        enforceable({"anyOf": [LIST, {"not": {"type": "integer"}}], "format": "iri"}, strict=True)

    pointers = ["/format", "/anyOf/0/uniqueItems", "/anyOf/1/not"]
    assert [fault.split("'")[3] for fault in raised.value.faults] == pointers
    assert all(fault in str(raised.value) for fault in raised.value.faults)


def test_a_schema_reports_at_most_twenty_faults() -> None:
    with pytest.raises(Unenforceable) as raised:
        enforceable({"anyOf": [LIST] * 30}, strict=True)

    assert len(raised.value.faults) == 20


def test_a_definition_that_is_used_twice_is_checked_once() -> None:
    schema = {"properties": {name: {"$ref": "#/$defs/l"} for name in "ab"}, "$defs": {"l": LIST, "unused": LIST}}

    assert enforceable(schema).checked == ("/$defs/l/uniqueItems",)


def test_names_of_a_condition_that_is_only_checked_can_be_generated() -> None:
    schema = {
        "type": "object",
        "properties": {"n": {"type": "number"}},
        "if": {"properties": {"n": {"type": "integer"}}},
        "then": {"properties": {"unit": {"type": "string"}}},
    }

    enforced = enforceable(schema)

    assert enforced.checked == ("/if",)
    assert enforced.schema["properties"].keys() == {"n", "unit"}


@pytest.mark.parametrize(
    ("sent", "converted"),
    [
        ({"items": [{}, True], "additionalItems": False}, {"prefixItems": [{}, True], "items": False}),
        ({"items": {}, "additionalItems": False}, {"items": {}, "additionalItems": False}),
        ({"minimum": 1, "exclusiveMinimum": True}, {"exclusiveMinimum": 1}),
        ({"maximum": 1, "exclusiveMaximum": False}, {"maximum": 1}),
        ({"type": "string", "nullable": True}, {"type": ["string", "null"], "nullable": True}),
        ({"nullable": True, "enum": ["a"]}, {"nullable": True, "enum": ["a"]}),
        ({"contentEncoding": "base64", "properties": {"contentEncoding": {}}}, {"properties": {"contentEncoding": {}}}),
        ({"enum": [{"items": [1]}], "default": {"items": [1]}}, {"enum": [{"items": [1]}], "default": {"items": [1]}}),
        ({"$ref": "#/properties/a/items/0"}, {"$ref": "#/properties/a/prefixItems/0"}),
        ({"$ref": "#/properties/items/0"}, {"$ref": "#/properties/items/0"}),
        (
            {"$schema": "http://json-schema.org/draft-07/schema#", "items": [True], "$ref": "#/items/0"},
            {"$schema": "http://json-schema.org/draft-07/schema#", "items": [True], "$ref": "#/items/0"},
        ),
    ],
)
def test_a_schema_is_converted_to_one_draft(sent: Any, converted: Any) -> None:
    assert of_one_draft(sent) == converted


@pytest.mark.parametrize(
    ("sent", "converted", "pointers"),
    [
        (
            {"properties": {"a": {"required": True}, "b": {"required": False, "type": "null"}}, "required": False},
            {"properties": {"a": {}, "b": {"type": "null"}}, "required": ["a"]},
            ["/properties/a/required", "/properties/b/required", "/required"],
        ),
        (
            {"items": {"properties": {"a/b": {"required": True, "type": "any"}}, "required": ["c"]}},
            {"items": {"properties": {"a/b": {}}, "required": ["c", "a/b"]}},
            ["/items/properties/a~1b/required", "/items/properties/a~1b/type"],
        ),
        ({"properties": {"required": {"enum": [{"required": True}]}}}, None, []),
        ({"properties": [], "required": "a"}, None, []),
        (True, None, []),
        ({"$schema": "https://json-schema.org/draft/2019-09/schema", "divisibleBy": 2}, None, []),
        ({"$schema": "https://example.com/own", "divisibleBy": 2}, {"divisibleBy": 2}, ["/$schema"]),
        (
            {
                "$schema": "http://json-schema.org/draft-03/schema#",
                "properties": {"a": {"divisibleBy": 2, "required": True}, "extends": {"disallow": ["string", "null"]}},
                "extends": {"dependencies": {"a": "b", "c": ["d"]}},
            },
            {
                "properties": {"a": {"multipleOf": 2}, "extends": {"not": {"type": ["string", "null"]}}},
                "allOf": [{"dependencies": {"a": ["b"], "c": ["d"]}}],
                "required": ["a"],
            },
            ["/properties/a/required", "/$schema"],
        ),
    ],
)
def test_required_properties_of_known_draft_are_those_of_their_object(
    sent: Any, converted: Any, pointers: list[str]
) -> None:
    schema, notes = of_known_draft(sent)

    assert schema == (sent if converted is None else converted)
    assert [note.split("'")[1] for note in notes] == pointers


@pytest.mark.parametrize(
    ("ref", "at", "found"),
    [
        ("#", "", ""),
        ("#/$defs/a", "", "/$defs/a"),
        ("https://a.example/root.json#/$defs/a", "", "/$defs/a"),
        ("inner.json", "", "/$defs/a"),
        ("inner.json#name", "", "/$defs/a/$defs/b"),
        ("#name", "/$defs/a/$defs/b", "/$defs/a/$defs/b"),
        ("#/$defs/b", "/$defs/a/$defs/b", "/$defs/a/$defs/b"),
        ("root.json", "/$defs/a/$defs/b", ""),
        ("#name", "", None),
        ("#/$defs/b", "", None),
        ("other.json", "", None),
        ("https://[", "", None),
    ],
)
def test_a_reference_is_resolved_against_the_nearest_identifier(ref: str, at: str, found: str | None) -> None:
    inner = {"$id": "inner.json", "$defs": {"b": {"$anchor": "name"}}}
    references = References(Part({"$id": "https://a.example/root.json", "$defs": {"a": inner}}, ""))

    target = references.target(Part({"$ref": ref}, at))

    assert (None if target is None else target.pointer) == found


def test_the_page_on_disk_is_what_the_keywords_print() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run scripts/docs"
