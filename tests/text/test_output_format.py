"""Forms: what they ask of an engine, and what they say of an answer that breaks them."""

from __future__ import annotations

import pytest

from crossette.errors import ConstraintFailed, InvalidRequest
from crossette.text import output_format
from crossette.text.output_format import mismatches


def test_an_answer_that_breaks_its_schema_is_counted_and_is_an_error() -> None:
    form = output_format.json_schema({"type": "integer"}, "p")
    before = mismatches.count

    form.check("7", is_cut=False)
    with pytest.raises(ConstraintFailed, match="does not match p"):
        form.check('"7"', is_cut=False)

    assert mismatches.count == before + 1


def test_an_answer_that_a_stop_cut_is_the_requests_own_error_and_not_counted() -> None:
    form = output_format.json_object("p")
    before = mismatches.count

    form.check("{}", is_cut=True)
    with pytest.raises(InvalidRequest) as raised:
        form.check('{"a', is_cut=True)

    assert (raised.value.param, mismatches.count) == ("stop", before)


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
