"""Constraints as Lark text enforce what the engine's own compiler enforces."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import llguidance
import pytest

from crossette.compiler_limits import LIMITS
from crossette.engines.grammar.compiler import GrammarCompiler
from crossette.engines.vllm.grammar import to_lark_text
from crossette.testing.fake_tokenizer import IM_END, FakeTokenizer
from crossette.text.schema.rebuild import enforceable
from crossette.types import Constraint
from support.schema_corpus import ACCEPTED

TOKENIZER = FakeTokenizer()
COMPILER = GrammarCompiler(TOKENIZER, 259, {IM_END})

SCHEMAS = [Constraint("json_schema", json.dumps(enforceable(schema).schema)) for schema in ACCEPTED]
OTHERS = [
    Constraint("regex", r"a/b[/c\\]{2,3}"),
    Constraint("regex", r"[^}]+\}"),
    Constraint("lark", 'start: "(" start ")" | main\nmain: "x" /[{}]/ // a comment }'),
    Constraint("lark", '%llguidance {}\nstart: /a+/ %json {"type": "null"}'),
    Constraint("gbnf", 'root ::= "a" main\nmain ::= [}{"]+ | "b" root'),
]
PREAMBLE = '"<think>" /[a-z]*/ "</think>"'


def with_preamble(constraint: Constraint) -> Constraint:
    return Constraint(constraint.kind, constraint.source, PREAMBLE)


def states(matcher: llguidance.LLMatcher, text: str) -> list[tuple[bytes, bool]]:
    """The allowed next bytes and whether the text may end, at each position of a text."""
    found = [(bytes(matcher.compute_bitmask()), bool(matcher.is_accepting()))]
    for token in text.encode():
        if not matcher.try_consume_tokens([token]):
            break
        found.append((bytes(matcher.compute_bitmask()), bool(matcher.is_accepting())))
    return found


def lark_matcher(constraint: Constraint) -> llguidance.LLMatcher:
    grammar = llguidance.grammar_from("grammar", to_lark_text(constraint))  # as vLLM does
    matcher = llguidance.LLMatcher(COMPILER._tokens(), grammar, log_level=0, limits=LIMITS)
    assert not matcher.is_error(), matcher.get_error()
    return matcher


@pytest.mark.parametrize("constraint", OTHERS, ids=lambda constraint: constraint.kind)
@pytest.mark.parametrize("text", ["a/b/c", "ab}", "((x}", "aaanull", "a}{", "ab"])
def test_a_grammar_allows_the_same_bytes_as_ours(constraint: Constraint, text: str) -> None:
    for given, begin in ((constraint, ""), (with_preamble(constraint), "<think>ab</think>")):
        ours = COMPILER.matcher(given)._matcher

        assert states(lark_matcher(given), begin + text) == states(ours, begin + text)


def test_every_schema_of_the_corpus_is_valid_lark_and_begins_the_same() -> None:
    for constraint in SCHEMAS:
        for given, begin in ((constraint, ""), (with_preamble(constraint), "<think></think>")):
            ours = COMPILER.matcher(given)._matcher
            assert states(lark_matcher(given), begin) == states(ours, begin), given.source


_CHECK = """
import json, sys, llguidance
tokens = llguidance.LLTokenizer(sys.argv[1])
for text in json.load(sys.stdin):
    matcher = llguidance.LLMatcher(tokens, llguidance.grammar_from("grammar", text), log_level=0)
    matcher.compute_bitmask()
    if matcher.is_error():
        print(matcher.get_error().splitlines()[0])
"""


@pytest.mark.vllm
def test_the_llguidance_of_vllm_accepts_every_grammar(request: pytest.FixtureRequest, tiny_checkpoint: Path) -> None:
    """vLLM has an older one than crossette: 1.7 has no integers between one bound and a smaller one, so that it
    refuses a few schemas with "not" and "oneOf"."""
    python = Path(request.config.getoption("--vllm")).parent / "python"
    texts = [to_lark_text(one) for one in (*SCHEMAS, *OTHERS)]
    texts += [to_lark_text(with_preamble(one)) for one in (*SCHEMAS, *OTHERS)]
    tokenizer = (tiny_checkpoint / "tokenizer.json").read_text(encoding="utf-8")

    checked = subprocess.run(
        [python, "-c", _CHECK, tokenizer], input=json.dumps(texts), capture_output=True, text=True, check=True
    )

    errors = checked.stdout.splitlines()
    assert all("integer range: min" in error for error in errors), errors
    assert len(errors) <= 2 * 7
