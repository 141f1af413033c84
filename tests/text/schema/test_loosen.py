"""Schemas that the compiler cannot combine: rewritten, left to validation, or refused if they are strict."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from crossette.engines.grammar.compiler import GrammarCompiler
from crossette.errors import InvalidRequest
from crossette.testing.fake_tokenizer import IM_END, FakeTokenizer
from crossette.text import output_format
from crossette.text.schema import loosen
from crossette.text.schema.compiles import fault_of_schema
from support.schema_walks import accepts, walk

Schema = Any

COMPILER = GrammarCompiler(FakeTokenizer(), 259, {IM_END})
NAME = {"type": "string", "maxLength": 5}


def closed(**properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "additionalProperties": False}


NODE = closed(name=NAME, next={"type": "object", "anyOf": [{"$ref": "#/$defs/node"}, {"$ref": "#/$defs/leaf"}]})
LEAF = closed(leaf={"type": "boolean"}) | {"required": ["leaf"]}
NAMED = closed(name=NAME, up={"allOf": [{"$ref": "#/$defs/named"}, {"required": ["name"]}]})
TAGGED = {
    "properties": {"tag": NAME, "in": {"$ref": "#/$defs/tagged", "properties": {"own": NAME}, "required": ["own"]}}
}
BY_NAME = {
    **closed(first={"type": "array", "items": {"$ref": "#/$defs/by_name"}}),
    "patternProperties": {".*": {"type": "array", "items": {"$ref": "#/$defs/by_name"}, "description": "any"}},
}
DEFS = {"node": NODE, "leaf": LEAF, "named": NAMED, "tagged": TAGGED, "by_name": BY_NAME}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("node", {"name": "a", "next": {"name": "b", "next": {"leaf": True}}}),
        ("named", {"name": "a", "up": {"name": "b", "up": {"name": "c"}}}),
        ("tagged", {"tag": "a", "in": {"tag": "b", "own": "c"}}),
        ("tagged", {"in": {"in": {"in": {"own": "c"}, "own": "c"}, "own": "c"}}),
        ("by_name", {"first": [{"first": []}, {"other": [{}]}]}),
    ],
)
def test_a_reference_back_may_have_other_keywords_next_to_it(name: str, value: Any) -> None:
    schema = {"$ref": f"#/$defs/{name}", "$defs": DEFS}
    answer_format = output_format.json_schema(schema, "p", strict=True)
    assert answer_format.validator is not None

    assert answer_format.validator.fault(json.dumps(value)) is None
    assert accepts(COMPILER.matcher(answer_format.constraint), json.dumps(value))
    for seed in range(20):
        text = walk(COMPILER.matcher(answer_format.constraint), random.Random(seed))
        assert text is None or answer_format.validator.fault(text.decode()) is None, text


@pytest.mark.parametrize("value", [{"in": {"in": {}}}, {"in": {"own": 3}}])
def test_keywords_next_to_a_reference_back_are_enforced(value: Any) -> None:
    answer_format = output_format.json_schema({"$ref": "#/$defs/tagged", "$defs": DEFS}, "p", strict=True)

    assert not accepts(COMPILER.matcher(answer_format.constraint), json.dumps(value))


def test_a_reference_to_an_object_without_properties_does_not_close_what_is_next_to_it() -> None:
    base = {"type": "object", "properties": {}}
    schema = {"allOf": [{"$ref": "#/$defs/base"}, closed(a=NAME) | {"required": ["a"]}], "$defs": {"base": base}}
    answer_format = output_format.json_schema(schema, "p", strict=True)

    assert accepts(COMPILER.matcher(answer_format.constraint), '{"a": "b"}')


NUMBERS, TEXTS = {"type": "number"}, {"type": "string"}
LOOSENED: list[tuple[Schema, str]] = [
    (
        {
            "type": "object",
            "allOf": [{"patternProperties": {"^x": NUMBERS}}, {"patternProperties": {"y": NUMBERS}}],
            "required": ["a"],
        },
        "/allOf/1",
    ),
    (
        closed(a={"patternProperties": {"b": TEXTS}, "$ref": "#/$defs/c"})
        | {"$defs": {"c": {"patternProperties": {"^.$": True}}}},
        "/properties/a",
    ),
]
"""Schemas with the pointer of what is left out of the grammar."""


@pytest.mark.parametrize(("schema", "pointer"), LOOSENED)
def test_what_cannot_be_combined_is_left_to_validation(schema: Schema, pointer: str) -> None:
    answer_format = output_format.json_schema(schema, "p")

    assert answer_format.checked == (pointer,)
    COMPILER.matcher(answer_format.constraint)


@pytest.mark.parametrize(("schema", "pointer"), LOOSENED)
def test_what_cannot_be_combined_is_refused_if_it_is_strict(schema: Schema, pointer: str) -> None:
    with pytest.raises(InvalidRequest, match=f"the schema at '{pointer}': a name may match two"):
        output_format.json_schema(schema, "p", strict=True)


def test_all_faults_of_combinations_are_reported() -> None:
    sent = closed(**dict.fromkeys("abc", LOOSENED[0][0]))

    with pytest.raises(output_format.UnusableSchema) as raised:
        output_format.json_schema(sent, "p", strict=True)

    assert [fault.split("'")[1] for fault in raised.value.faults] == [f"/properties/{name}/allOf/1" for name in "abc"]


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize(
    ("schema", "pointer"),
    [
        (closed(a={"allOf": [TEXTS, NUMBERS]}) | {"required": ["a"]}, "/properties/a"),
        ({"allOf": [{"type": "number", "minimum": 5}, {"maximum": 3}]}, ""),
        ({"type": "array", "minItems": 1, "items": {"type": "integer", "enum": ["a"]}}, "/items"),
    ],
)
def test_a_schema_without_values_is_refused(schema: Schema, pointer: str, strict: bool) -> None:
    with pytest.raises(InvalidRequest, match=f"the schema at '{pointer}': "):
        output_format.json_schema(schema, "p", strict=strict)


def test_the_compiler_is_called_a_limited_number_of_times(monkeypatch: pytest.MonkeyPatch) -> None:
    num_compiled = 0

    def counted(schema: Schema) -> Any:
        nonlocal num_compiled
        num_compiled += 1
        return fault_of_schema(schema)

    monkeypatch.setattr(loosen, "fault_of_schema", counted)
    overlapping = {"allOf": [{"patternProperties": {f"{number}": NUMBERS}} for number in range(40)]}
    schema = closed(**{f"p{number}": overlapping for number in range(40)})

    with pytest.raises(InvalidRequest, match="a name may match two of its patterns"):
        output_format.json_schema(schema, "p")

    assert num_compiled < 1100
