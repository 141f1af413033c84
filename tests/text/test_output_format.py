"""Output formats: their constraints, and the validation of answers."""

from __future__ import annotations

import pytest

from crossette.errors import InvalidRequest, OutputMismatch
from crossette.text import output_format


def test_an_answer_that_does_not_match_its_schema_is_an_error() -> None:
    answer_format = output_format.json_schema({"type": "integer"}, "p")

    answer_format.check("7", is_cut=False)
    with pytest.raises(OutputMismatch, match="does not match p"):
        answer_format.check('"7"', is_cut=False)


def test_keywords_that_a_grammar_cannot_enforce_are_checked_unless_the_schema_is_strict() -> None:
    schema = {"type": "array", "items": {"type": "integer"}, "uniqueItems": True, "maxLenght": 3}

    answer_format = output_format.json_schema(schema, "p")

    assert answer_format.checked == ("/uniqueItems",)
    assert answer_format.notes == ("'/maxLenght' is not a keyword. Did you mean 'maxLength'?",)
    answer_format.check("[1, 2]", is_cut=False)
    with pytest.raises(OutputMismatch, match="unique"):
        answer_format.check("[1, 1]", is_cut=False)
    with pytest.raises(InvalidRequest, match="'uniqueItems' at '/uniqueItems'") as raised:
        output_format.json_schema(schema, "p", strict=True)
    assert raised.value.param == "p"


def test_json_cut_by_a_stop_string_is_the_clients_error() -> None:
    answer_format = output_format.json_object("p")

    answer_format.check("{}", is_cut=True)
    with pytest.raises(InvalidRequest) as raised:
        answer_format.check('{"a', is_cut=True)

    assert raised.value.param == "stop"


def test_patterns_and_grammars_have_no_validator() -> None:
    for answer_format in (
        output_format.regex("a", "p"),
        output_format.choice(["a"], "p"),
        output_format.gbnf('root ::= "a"', "p"),
    ):
        answer_format.check("b", is_cut=False)


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ('root ::= "a"', "gbnf"),
        ('# x\nroot ::=\n "a"', "gbnf"),
        ('start: "::="', "lark"),
        ('start: "a" | b\nb: "c"', "lark"),
    ],
)
def test_a_grammar_is_gbnf_or_lark(source: str, kind: str) -> None:
    assert output_format.grammar(source, "p").constraint.kind == kind


def test_an_empty_choice_is_rejected() -> None:
    with pytest.raises(InvalidRequest, match="List at least one choice"):
        output_format.choice([], "p")
