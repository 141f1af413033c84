"""GBNF grammars match what they say, character by character."""

from __future__ import annotations

import random
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossette.engines.grammar.compiler import GrammarCompiler
from crossette.engines.grammar.gbnf import to_lark
from crossette.errors import ConstraintFailed, InvalidRequest
from crossette.testing.fake_tokenizer import IM_END, FakeTokenizer
from crossette.types import Constraint


@pytest.fixture(scope="module")
def compiler() -> GrammarCompiler:
    return GrammarCompiler(FakeTokenizer(), 259, {IM_END})


def matches(compiler: GrammarCompiler, gbnf: str, text: str) -> bool:
    matcher = compiler.matcher(Constraint("gbnf", gbnf))
    try:
        for byte in text.encode():
            matcher.accept_token(byte)
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
        ('root ::= "a"{\u0663}', "Line 1"),
        (r'root ::= "\q"', "no escape"),
        (r'root ::= "\ud800"', "no character"),
        ("root ::= \"a\"\n\nx ::= 'b'", "Line 3"),
        ('"a"', "begins with"),
    ],
)
def test_what_is_no_gbnf_is_refused_with_the_reason(gbnf: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        to_lark(gbnf)


# --- words ---

JSON = r"""
root ::= value
value ::= object | array | string | number | ("true" | "null") ws
object ::= "{" ws (string ":" ws value ("," ws string ":" ws value)*)? "}" ws
array ::= "[" ws (value ("," ws value)*)? "]" ws
string ::= "\"" ([^"\\\x00-\x1F] | "\\" (["\\nt] | "u" [0-9a-f]{4}))* "\"" ws
number ::= "-"? ([0-9] | [1-9] [0-9]{0,15}) ("." [0-9]+)? ws
ws ::= | " " | "\n" [ \t]{0,20}
"""


@pytest.mark.parametrize(
    ("gbnf", "num_words"),
    [
        ('root ::= word (" " word)* "."\nword ::= [a-z]+ | number\nnumber ::= [0-9]+', 3),  # it is one word
        (JSON, 3),
        ('root ::= "(" root ")" | word "b"\nword ::= [a-z]+', 0),  # the b would be the word's
        ('root ::= "(" root ")" | word "b"\nword ::= [c-z]+', 1),
        ('root ::= "(" root ")" | word | "ab" "c"\nword ::= "a" "b"? | "abc"', 0),  # the one that is longer would win
        ('root ::= "(" root ")" | word "è"\nword ::= "a" "é"?', 0),  # they begin with the same byte
        ('root ::= "(" root ")" | word word\nword ::= "a"+', 0),
        ('root ::= "(" root ")" | one "x" | two "y"\none ::= [a-f]+\ntwo ::= [d-z]*', 0),  # x is the other's
    ],
)
def test_rules_are_words_where_a_lexer_reads_them_as_gbnf_does(gbnf: str, num_words: int) -> None:
    assert len(set(re.findall(r"^W\d+:", to_lark(gbnf), re.MULTILINE))) == num_words


CHARACTERS = ['"a"', '"b"', '"ab"', "[a-c]", "[^ab]", '"é"', '"è"', '""', "[bé]", "."]


def bodies(names: list[str]) -> st.SearchStrategy[str]:
    parts = st.sampled_from([*CHARACTERS, *names])
    return st.recursive(
        parts,
        lambda inner: st.one_of(
            st.lists(inner, min_size=2, max_size=3).map(" ".join),
            st.lists(inner, min_size=2, max_size=3).map(lambda several: f"({' | '.join(several)})"),
            st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{1,3}", "{0,2}", "{2,}"])).map(
                lambda pair: f"({pair[0]}){pair[1]}"
            ),
        ),
        max_leaves=6,
    )


@st.composite
def grammars(draw: st.DrawFn) -> str:
    """Four rules, of which the first leads to itself, or to nothing that does."""
    begin = draw(st.sampled_from(['"x" root "y" | ', 'root "z" | ', ""]))
    root = draw(bodies(["r1", "r2", "r3"]))
    rules = [draw(bodies(["r2", "r3"])), draw(bodies(["r3"])), draw(bodies([]))]
    return "\n".join([f"root ::= {begin}{root}", *(f"r{place} ::= {body}" for place, body in enumerate(rules, 1))])


@settings(max_examples=60, deadline=None)
@given(grammars(), st.integers(0, 10**6))
def test_with_words_the_same_may_come_next_as_without(gbnf: str, seed: int) -> None:
    """At each step of a walk: the bytes that are allowed, and whether the text may end."""
    compiler = GrammarCompiler(FakeTokenizer(), 259, {IM_END})
    rng = random.Random(seed)
    try:
        slow = compiler.matcher(Constraint("lark", to_lark(gbnf, with_words=False)))
        fast = compiler.matcher(Constraint("lark", to_lark(gbnf)))
    except InvalidRequest:  # some say nothing, or nothing that ends
        return
    for _ in range(12):
        assert (fast.is_over, fast.is_accepting) == (slow.is_over, slow.is_accepting)
        if slow.is_over:
            return
        allowed = slow.allowed()
        assert np.flatnonzero(fast.allowed()).tolist() == np.flatnonzero(allowed).tolist()
        token = int(rng.choice(np.flatnonzero(allowed)))
        if token == IM_END:
            return
        slow.accept_token(token)
        fast.accept_token(token)
