"""Forms: what they ask of an engine, and what they say of an answer that breaks them."""

from __future__ import annotations

import pytest

from crossette.errors import InvalidRequest, OutputMismatch
from crossette.text import output_format


def test_an_answer_that_does_not_match_its_schema_is_an_error() -> None:
    form = output_format.json_schema({"type": "integer"}, "p")

    form.check("7", is_cut=False)
    with pytest.raises(OutputMismatch, match="does not match p"):
        form.check('"7"', is_cut=False)


def test_an_answer_that_a_stop_cut_is_the_requests_own_error() -> None:
    form = output_format.json_object("p")

    form.check("{}", is_cut=True)
    with pytest.raises(InvalidRequest) as raised:
        form.check('{"a', is_cut=True)

    assert raised.value.param == "stop"


def test_a_pattern_or_a_grammar_is_the_engines_word_alone() -> None:
    for form in (
        output_format.regex("a", "p"),
        output_format.choice(["a"], "p"),
        output_format.gbnf('root ::= "a"', "p"),
    ):
        form.check("b", is_cut=False)


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


def test_a_choice_of_nothing_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="nothing to choose"):
        output_format.choice([], "p")
