"""GBNF grammars match what they say, character by character."""

from __future__ import annotations

import pytest

from crossette.engines.fake import IM_END, FakeTokenizer
from crossette.engines.gbnf import to_lark
from crossette.engines.grammar import GrammarCompiler
from crossette.errors import ConstraintFailed
from crossette.types import Constraint


@pytest.fixture(scope="module")
def compiler() -> GrammarCompiler:
    return GrammarCompiler(FakeTokenizer(), 259, {IM_END})


def matches(compiler: GrammarCompiler, gbnf: str, text: str) -> bool:
    matcher = compiler.matcher(Constraint("gbnf", gbnf))
    try:
        for byte in text.encode():
            matcher.note(byte)
    except ConstraintFailed:
        return False
    return matcher.is_accepting


@pytest.mark.parametrize(
    ("gbnf", "good", "bad"),
    [
        (r'root ::= "\u00e9" "\x41" "\U0001F600"', "éA😀", "eA😀"),
        (r"root ::= [\u00e0-\u00ef]+", "éè", "e"),
        (r"root ::= [^\"\n]+", "ab", "a\n"),
        ("root ::= [a&&b]+", "a&b", "c"),
        (r"root ::= [\]a^-]+", "]^-a", "["),
        ('root ::= "a" .', "a\n", "a"),
        ('root ::= word "b"\nword ::= [a-z]+', "abb", "ba"),  # no lexer takes the b away
        ('root ::= "ab" | [a-z] [a-z] "!"', "ab!", "abc"),
        ('root ::= x-y x_y # two names\nx-y ::= "a"\nx_y ::= "b"', "ab", "aa"),
        ('root ::= start\nstart ::= "a" | start "b"', "abb", "b"),
        ('root ::= ("a" | "b"){2,3} "c"? | ""', "abac", "a"),
        ('root ::=\n  "a" |\n  "b"\n', "b", "ab"),
        ('root ::= "say \\"hi\\" \\\\"', 'say "hi" \\', "say hi"),
    ],
)
def test_a_grammar_matches_what_it_says(compiler: GrammarCompiler, gbnf: str, good: str, bad: str) -> None:
    assert (matches(compiler, gbnf, good), matches(compiler, gbnf, bad)) == (True, False)


@pytest.mark.parametrize(
    ("gbnf", "reason"),
    [
        ('rot ::= "a"', "no rule 'root'"),
        ("root ::= other", "no rule 'other'"),
        ('root ::= "a"\nroot ::= "b"', "defined twice"),
        (r'root ::= "\q"', "no escape"),
        (r'root ::= "\ud800"', "no character"),
        ("root ::= \"a\"\n\nx ::= 'b'", "Line 3"),
        ('"a"', "begins with"),
    ],
)
def test_what_is_no_gbnf_is_refused_with_the_reason(gbnf: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        to_lark(gbnf)
