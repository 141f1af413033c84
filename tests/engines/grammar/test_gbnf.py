"""GBNF grammars match the same texts after translation to Lark, with and without terminals."""

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
        ('root ::= word "b"\nword ::= [a-z]+', "abb", "ba"),  # the lexer must not consume the b
        ('root ::= "ab" | [a-z] [a-z] "!"', "ab!", "abc"),
        ('root ::= x-y x_y # two names\nx-y ::= "a"\nx_y ::= "b"', "ab", "aa"),
        ('root ::= start\nstart ::= "a" | start "b"', "abb", "b"),
        ('root ::= ("a" | "b"){2,3} "c"? | ""', "abac", "a"),
        ('root ::=\n  "a" |\n  "b"\n', "b", "ab"),
        ('root ::= "say \\"hi\\" \\\\"', 'say "hi" \\', "say hi"),
    ],
)
def test_a_grammar_matches_its_texts_only(compiler: GrammarCompiler, gbnf: str, good: str, bad: str) -> None:
    assert (matches(compiler, gbnf, good), matches(compiler, gbnf, bad)) == (True, False)


@pytest.mark.parametrize(
    ("gbnf", "reason"),
    [
        ('rot ::= "a"', "no rule 'root'"),
        ("root ::= other", "no rule 'other'"),
        ('root ::= "a"\nroot ::= "b"', "defined twice"),
        ('root ::= "a"{\u0663}', "Line 1"),
        (r'root ::= "\q"', "not an escape"),
        (r'root ::= "\ud800"', "not a character"),
        ("root ::= \"a\"\n\nx ::= 'b'", "Line 3"),
        ('"a"', "begins with"),
    ],
)
def test_invalid_gbnf_is_refused_with_the_reason(gbnf: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        to_lark(gbnf)


# --- terminals ---

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
    ("gbnf", "num_terminals"),
    [
        ('root ::= word (" " word)* "."\nword ::= [a-z]+ | number\nnumber ::= [0-9]+', 3),  # one terminal
        (JSON, 3),
        ('root ::= "(" root ")" | word "b"\nword ::= [a-z]+', 0),  # the terminal would consume the b
        ('root ::= "(" root ")" | word "b"\nword ::= [c-z]+', 1),
        ('root ::= "(" root ")" | word | "ab" "c"\nword ::= "a" "b"? | "abc"', 0),  # the longer match would win
        ('root ::= "(" root ")" | word "è"\nword ::= "a" "é"?', 0),  # é and è share their first byte
        ('root ::= "(" root ")" | word word\nword ::= "a"+', 0),
        ('root ::= "(" root ")" | one "x" | two "y"\none ::= [a-f]+\ntwo ::= [d-z]*', 0),  # `two` would consume the x
    ],
)
def test_rules_are_terminals_where_longest_match_agrees_with_gbnf(gbnf: str, num_terminals: int) -> None:
    assert len(set(re.findall(r"^T\d+:", to_lark(gbnf), re.MULTILINE))) == num_terminals


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
    """Four rules; the first may be recursive."""
    begin = draw(st.sampled_from(['"x" root "y" | ', 'root "z" | ', ""]))
    root = draw(bodies(["r1", "r2", "r3"]))
    rules = [draw(bodies(["r2", "r3"])), draw(bodies(["r3"])), draw(bodies([]))]
    return "\n".join([f"root ::= {begin}{root}", *(f"r{number} ::= {body}" for number, body in enumerate(rules, 1))])


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(grammars(), st.integers(0, 10**6))
def test_terminals_allow_the_same_next_tokens(gbnf: str, seed: int) -> None:
    """At each step of a random walk: the allowed bytes, and whether the text may end."""
    compiler = GrammarCompiler(FakeTokenizer(), 259, {IM_END})
    rng = random.Random(seed)
    try:
        slow = compiler.matcher(Constraint("lark", to_lark(gbnf, with_terminals=False)))
        fast = compiler.matcher(Constraint("lark", to_lark(gbnf)))
    except InvalidRequest:  # some match no text, or no finite one
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
