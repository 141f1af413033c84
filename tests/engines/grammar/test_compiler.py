"""Constraints: on every engine the output matches, and other requests are not affected."""

from __future__ import annotations

import json
import math
import random
import re
from typing import Any, Literal

import numpy as np
import pytest

from crossette.engine import Engine
from crossette.engines.grammar.compiler import GrammarCompiler, Matcher
from crossette.engines.grammar.gbnf import to_lark
from crossette.engines.vllm.engine import VllmEngine
from crossette.errors import ConstraintFailed, InvalidRequest
from crossette.testing.fake_engine import FakeEngine, say
from crossette.testing.fake_tokenizer import FakeTokenizer
from crossette.text import output_format
from crossette.types import Constraint, FinishReason
from support.engine_calls import ask, make_request, run

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 3},
    },
    "required": ["name", "age", "tags"],
    "additionalProperties": False,
}


def json_schema(schema: Any) -> Constraint:
    return output_format.json_schema(schema, "response_format").constraint


@pytest.fixture(scope="module")
def compiler() -> GrammarCompiler:
    return GrammarCompiler(FakeTokenizer(), 259, {257})


def walk(matcher: Matcher, rng: random.Random) -> str:
    """A random text that the grammar allows."""
    text = bytearray()
    while not matcher.is_over:
        tokens = [int(token) for token in matcher.allowed().nonzero()[0]]
        token = rng.choice(tokens)
        if token == 257:
            break
        text.append(token)
        matcher.accept_token(token)
    return text.decode()


@pytest.mark.parametrize(
    ("constraint", "pattern"),
    [
        (Constraint("regex", r"[a-c]{2,4}\d"), r"[a-c]{2,4}\d"),
        (Constraint("gbnf", 'root ::= "yes" | "no" [0-9]'), r"yes|no[0-9]"),
        (Constraint("lark", 'start: "a" b+\nb: "b" | "c"'), r"a[bc]+"),
        (Constraint("regex", r"\d", preamble='"<t>" /[xy]{0,5}/ "</t>"'), r"<t>[xy]{0,5}</t>\d"),
    ],
)
def test_random_walks_match(compiler: GrammarCompiler, constraint: Constraint, pattern: str) -> None:
    texts = {walk(compiler.matcher(constraint), random.Random(seed)) for seed in range(30)}

    assert len(texts) > 1
    assert all(re.fullmatch(pattern, text) for text in texts)


def test_white_space_of_json_is_fixed_and_punctuation_is_forced(compiler: GrammarCompiler) -> None:
    matcher = compiler.matcher(json_schema(PERSON))

    assert bytes(matcher.forced()) == b'{"name": "'


def test_a_control_token_is_never_text_of_a_grammar(compiler: GrammarCompiler) -> None:
    matcher = compiler.matcher(Constraint("regex", r"(?s:.)*"))

    allowed = matcher.allowed()
    assert [token for token in (256, 257, 258) if allowed[token]] == [257]  # the end, as the text may end


def test_a_token_that_was_not_allowed_is_an_error(compiler: GrammarCompiler) -> None:
    matcher = compiler.matcher(Constraint("regex", "a"))

    with pytest.raises(ConstraintFailed):
        matcher.accept_token(ord("b"))


@pytest.mark.parametrize(
    ("constraint", "message"),
    [
        (Constraint("regex", "(", param="p"), "The regular expression cannot be enforced"),
        (Constraint("gbnf", "rot ::= 'a'", param="p"), "The grammar cannot be enforced"),
        (Constraint("lark", "start: missing", param="p"), "The grammar cannot be enforced"),
        (Constraint("json_schema", '{"type": "strang"}', param="p"), "The JSON schema cannot be enforced"),
        (Constraint("json_schema", '{"not": {}}', param="p"), "The JSON schema cannot be enforced"),
    ],
)
def test_an_invalid_grammar_is_refused_with_the_reason(
    compiler: GrammarCompiler, constraint: Constraint, message: str
) -> None:
    with pytest.raises(InvalidRequest, match=message) as raised:
        compiler.matcher(constraint)

    assert raised.value.param == "p"
    assert len(raised.value.message) < 400


def chain(num_links: int) -> Any:
    """A schema of nested objects, each a reference."""
    links = {
        f"d{depth}": {"type": "object", "properties": {"a": {"$ref": f"#/$defs/d{depth + 1}"}}}
        for depth in range(num_links)
    }
    return {"$ref": "#/$defs/d0", "$defs": {**links, f"d{num_links}": {"type": "null"}}}


@pytest.mark.slow
def test_references_and_rules_may_nest_a_thousand_deep(compiler: GrammarCompiler) -> None:
    """A stack overflow would end the process, and the test run with it."""
    rules = "\n".join(f"r{number}: r{number + 1}" for number in range(1900))

    assert not compiler.matcher(json_schema(chain(1000))).is_over
    assert bytes(compiler.matcher(Constraint("lark", f'start: r0\n{rules}\nr1900: "ab"')).forced()) == b"ab"


@pytest.mark.parametrize("kind", ["lark", "gbnf"])
def test_a_grammar_of_more_rules_is_refused(compiler: GrammarCompiler, kind: Literal["lark", "gbnf"]) -> None:
    define, root = (":", "start") if kind == "lark" else ("::=", "root")
    rules = "\n".join(f"r{number} {define} r{number + 1}" for number in range(3000))

    with pytest.raises(InvalidRequest, match="more than 2000 rules"):
        compiler.matcher(Constraint(kind, f'{root} {define} r0\n{rules}\nr3000 {define} "a"'))


def test_gbnf_beyond_the_limits_with_terminals_is_compiled_without_them(compiler: GrammarCompiler) -> None:
    doubled = "\n".join(f"r{number} ::= r{number + 1} [b-d]? r{number + 1}" for number in range(20))
    gbnf = f'root ::= r0\n{doubled}\nr20 ::= "a" | "0"'

    with pytest.raises(InvalidRequest, match="too large"):
        compiler.matcher(Constraint("lark", to_lark(gbnf)))
    assert compiler.matcher(Constraint("gbnf", gbnf)).allowed()[ord("0")]


def test_forced_text_is_encoded_once_for_all_sequences() -> None:
    class Counting(FakeTokenizer):
        def __init__(self) -> None:
            super().__init__()
            self.encoded: list[str] = []

        def encode(self, text: str, *, specials: bool) -> list[int]:
            self.encoded.append(text)
            return super().encode(text, specials=specials)

    tokenizer = Counting()
    compiler = GrammarCompiler(tokenizer, 259, {257})
    compiler.matcher(json_schema(PERSON)).forced()
    tokenizer.encoded.clear()

    assert bytes(compiler.matcher(json_schema(PERSON)).forced()) == b'{"name": "'
    assert tokenizer.encoded == []


# --- on engines ---


def text_of(engine: Engine, tokens: tuple[int, ...]) -> str:
    return b"".join(engine.tokenizer.token_bytes(token) for token in tokens).decode()


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_an_engine_generates_json_of_the_schema(engine: Engine, temperature: float) -> None:
    constraint = json_schema(PERSON)
    engine.prepare(constraint)
    request = make_request(constraint=constraint, max_tokens=300, temperature=temperature, seed=3, n=3)

    for choice in run(ask(engine, request)).values():
        person = json.loads(text_of(engine, choice.tokens))
        assert choice.reason == FinishReason.STOP
        assert set(person) == {"name", "age", "tags"}
        assert 0 <= person["age"] <= 150
        assert set(person["tags"]) <= {"a", "b"}


def test_forced_text_takes_few_steps_and_logprobs_change_nothing(engine: Engine) -> None:
    constraint = Constraint("regex", "[ab](x{100})[cd]")
    request = make_request(constraint=constraint, max_tokens=200, temperature=1.0, seed=1)

    before = engine.stats().steps
    choice = run(ask(engine, request))[0]
    num_steps = engine.stats().steps - before
    scored = run(ask(engine, make_request(constraint=constraint, max_tokens=200, temperature=1.0, seed=1, logprobs=0)))

    assert re.fullmatch("[ab]x{100}[cd]", text_of(engine, choice.tokens))
    assert scored[0] == choice
    if not isinstance(engine, FakeEngine):
        assert num_steps < 30


def test_max_tokens_may_cut_the_output_with_finish_reason_length(engine: Engine) -> None:
    choice = run(ask(engine, make_request(constraint=Constraint("regex", "x{50}"), max_tokens=20)))[0]

    assert (len(text_of(engine, choice.tokens)), choice.reason) == (20, FinishReason.LENGTH)


def test_a_failing_constraint_fails_its_own_request_only(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    if isinstance(engine, VllmEngine):
        pytest.skip("vLLM applies constraints in its own process; its failures are those of test_contract.py")
    constraint = Constraint("regex", "[ab]{40}")

    async def work() -> tuple[BaseException | dict[int, Any], BaseException | dict[int, Any]]:
        import asyncio

        free = asyncio.ensure_future(ask(engine, make_request(max_tokens=30)))
        constrained = asyncio.ensure_future(ask(engine, make_request(constraint=constraint, max_tokens=30)))
        one, two = await asyncio.gather(free, constrained, return_exceptions=True)
        return one, two

    calls = iter(range(1000))
    real = Matcher.allowed

    def failing(self: Matcher) -> Any:
        if next(calls) > 5:
            raise ConstraintFailed("too much work")
        return real(self)

    monkeypatch.setattr(Matcher, "allowed", failing)
    free, constrained = run(work())

    assert isinstance(constrained, ConstraintFailed)
    assert isinstance(free, dict)
    assert len(free[0].tokens) == 30
    monkeypatch.undo()
    assert run(ask(engine, make_request(constraint=constraint, max_tokens=50)))[0].reason == FinishReason.STOP


def test_the_fake_engine_follows_its_script_where_the_grammar_allows_it() -> None:
    engine = FakeEngine(say('{"name": "Bo", "age": 7, "tags": []}'))

    choice = run(ask(engine, make_request(constraint=json_schema(PERSON), max_tokens=100)))[0]

    assert text_of(engine, choice.tokens) == '{"name": "Bo", "age": 7, "tags": []}'


def test_a_model_without_end_token_supports_no_constraints() -> None:
    with pytest.raises(InvalidRequest, match="no end token"):
        GrammarCompiler(FakeTokenizer(), 259, set()).matcher(Constraint("regex", "a"))


class Digits(random.Random):
    """Prefers digits wherever they are allowed, like a model in a degenerate loop."""

    def pick(self, allowed: Any) -> int:
        digits = [token for token in b"7777770" if allowed[token]]
        return digits[0] if digits else int(self.choice(np.flatnonzero(allowed)))


def endless(constraint: Constraint, begin: bytes = b"") -> bytes:
    """The output of a model that adds digits for as long as the mask allows them."""
    matcher, text, rng = GrammarCompiler(FakeTokenizer(), 259, {257}).matcher(constraint), bytearray(), Digits(3)
    while not matcher.is_over and len(text) < 400:
        allowed = matcher.allowed()
        token = begin[len(text)] if len(text) < len(begin) and allowed[begin[len(text)]] else rng.pick(allowed)
        if token == 257:
            break
        matcher.accept_token(token)
        text.append(token)
    return bytes(text)


@pytest.mark.parametrize(
    ("schema", "begin"),
    [
        ({"type": "number"}, b""),
        ({"type": "integer"}, b"-"),
        ({"type": "number"}, b"0."),
        ({"type": "number"}, b"7e"),
        ({"type": "number"}, b"7E-"),
        ({"type": "number", "minimum": 0, "maximum": 9000}, b"1."),
        ({"type": "object", "properties": {"a": {"type": "number"}}, "required": ["a"]}, b'{"a": '),
        ({"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}, b"["),
    ],
)
def test_numbers_end_and_can_be_parsed(schema: Any, begin: bytes) -> None:
    response_format = output_format.json_schema(schema, "schema")

    text = endless(response_format.constraint, begin).decode()

    response_format.check(text, is_cut=False)
    assert all(len(run) <= 20 for run in re.findall(r"\d+", text))
    assert math.isfinite(float(re.findall(r"-?[\d.eE+-]+", text)[0]))


def test_digits_in_strings_and_in_client_patterns_are_not_bounded() -> None:
    string = output_format.json_schema({"type": "string", "pattern": "^[0-9a]{30,40}$"}, "schema")

    assert endless(string.constraint) == b'"' + b"7" * 40 + b'"'
    assert endless(Constraint("regex", r"\d{30,40}")) == b"7" * 40
