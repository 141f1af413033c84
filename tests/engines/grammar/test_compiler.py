"""Constraints: what comes out matches, on every engine, and nobody else notices."""

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
    """Any text that the grammar allows."""
    said = bytearray()
    while not matcher.is_over:
        tokens = [int(token) for token in matcher.allowed().nonzero()[0]]
        token = rng.choice(tokens)
        if token == 257:
            break
        said.append(token)
        matcher.accept_token(token)
    return said.decode()


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
    said = {walk(compiler.matcher(constraint), random.Random(seed)) for seed in range(30)}

    assert len(said) > 1
    assert all(re.fullmatch(pattern, text) for text in said)


def test_json_has_one_way_of_white_space_and_most_of_it_is_forced(compiler: GrammarCompiler) -> None:
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
def test_what_is_no_grammar_is_refused_with_the_reason(
    compiler: GrammarCompiler, constraint: Constraint, message: str
) -> None:
    with pytest.raises(InvalidRequest, match=message) as raised:
        compiler.matcher(constraint)

    assert raised.value.param == "p"
    assert len(raised.value.message) < 400


def chain(num_links: int) -> Any:
    """A schema of objects in one another, each behind a reference."""
    links = {
        f"d{place}": {"type": "object", "properties": {"a": {"$ref": f"#/$defs/d{place + 1}"}}}
        for place in range(num_links)
    }
    return {"$ref": "#/$defs/d0", "$defs": {**links, f"d{num_links}": {"type": "null"}}}


def test_references_and_rules_may_lead_a_thousand_deep_into_one_another(compiler: GrammarCompiler) -> None:
    """What overflows a stack ends the process: no test could tell of it."""
    rules = "\n".join(f"r{place}: r{place + 1}" for place in range(1900))

    assert not compiler.matcher(json_schema(chain(1000))).is_over
    assert bytes(compiler.matcher(Constraint("lark", f'start: r0\n{rules}\nr1900: "ab"')).forced()) == b"ab"


@pytest.mark.parametrize("kind", ["lark", "gbnf"])
def test_a_grammar_of_more_rules_is_refused(compiler: GrammarCompiler, kind: Literal["lark", "gbnf"]) -> None:
    mark, root = (":", "start") if kind == "lark" else ("::=", "root")
    rules = "\n".join(f"r{place} {mark} r{place + 1}" for place in range(3000))

    with pytest.raises(InvalidRequest, match="more than 2000 rules"):
        compiler.matcher(Constraint(kind, f'{root} {mark} r0\n{rules}\nr3000 {mark} "a"'))


def test_a_gbnf_that_is_too_much_in_words_is_read_by_characters(compiler: GrammarCompiler) -> None:
    doubled = "\n".join(f"r{place} ::= r{place + 1} [b-d]? r{place + 1}" for place in range(20))
    gbnf = f'root ::= r0\n{doubled}\nr20 ::= "a" | "0"'

    with pytest.raises(InvalidRequest, match="too big"):
        compiler.matcher(Constraint("lark", to_lark(gbnf)))
    assert compiler.matcher(Constraint("gbnf", gbnf)).allowed()[ord("0")]


def test_forced_text_is_encoded_once_for_all_streams() -> None:
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
def test_an_engine_says_json_of_the_schema(engine: Engine, temperature: float) -> None:
    constraint = json_schema(PERSON)
    engine.prepare(constraint)
    request = make_request(constraint=constraint, max_tokens=300, temperature=temperature, seed=3, n=3)

    for said in run(ask(engine, request)).values():
        person = json.loads(text_of(engine, said.tokens))
        assert said.reason == FinishReason.STOP
        assert set(person) == {"name", "age", "tags"}
        assert 0 <= person["age"] <= 150
        assert set(person["tags"]) <= {"a", "b"}


def test_forced_text_takes_few_steps_and_logprobs_change_nothing(engine: Engine) -> None:
    constraint = Constraint("regex", "[ab](x{100})[cd]")
    request = make_request(constraint=constraint, max_tokens=200, temperature=1.0, seed=1)

    before = engine.stats().steps
    said = run(ask(engine, request))[0]
    num_steps = engine.stats().steps - before
    scored = run(ask(engine, make_request(constraint=constraint, max_tokens=200, temperature=1.0, seed=1, logprobs=0)))

    assert re.fullmatch("[ab]x{100}[cd]", text_of(engine, said.tokens))
    assert scored[0] == said
    if not isinstance(engine, FakeEngine):
        assert num_steps < 30


def test_max_tokens_may_leave_it_unfinished_and_says_so(engine: Engine) -> None:
    said = run(ask(engine, make_request(constraint=Constraint("regex", "x{50}"), max_tokens=20)))[0]

    assert (len(text_of(engine, said.tokens)), said.reason) == (20, FinishReason.LENGTH)


def test_a_failing_constraint_ends_its_own_request_only(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    constraint = Constraint("regex", "[ab]{40}")

    async def work() -> tuple[BaseException | dict[int, Any], BaseException | dict[int, Any]]:
        import asyncio

        free = asyncio.ensure_future(ask(engine, make_request(max_tokens=30)))
        held = asyncio.ensure_future(ask(engine, make_request(constraint=constraint, max_tokens=30)))
        one, two = await asyncio.gather(free, held, return_exceptions=True)
        return one, two

    calls = iter(range(1000))
    real = Matcher.allowed

    def failing(self: Matcher) -> Any:
        if next(calls) > 5:
            raise ConstraintFailed("too much work")
        return real(self)

    monkeypatch.setattr(Matcher, "allowed", failing)
    free, held = run(work())

    assert isinstance(held, ConstraintFailed)
    assert isinstance(free, dict)
    assert len(free[0].tokens) == 30
    monkeypatch.undo()
    assert run(ask(engine, make_request(constraint=constraint, max_tokens=50)))[0].reason == FinishReason.STOP


def test_the_fake_keeps_to_its_script_where_the_grammar_lets_it() -> None:
    engine = FakeEngine(say('{"name": "Bo", "age": 7, "tags": []}'))

    said = run(ask(engine, make_request(constraint=json_schema(PERSON), max_tokens=100)))[0]

    assert text_of(engine, said.tokens) == '{"name": "Bo", "age": 7, "tags": []}'


def test_a_model_that_cannot_end_an_answer_takes_no_form() -> None:
    with pytest.raises(InvalidRequest, match="no token that ends an answer"):
        GrammarCompiler(FakeTokenizer(), 259, set()).matcher(Constraint("regex", "a"))


class Digits(random.Random):
    """Prefers digits wherever they are allowed, as models do that are lost in a number."""

    def pick(self, allowed: Any) -> int:
        digits = [token for token in b"7777770" if allowed[token]]
        return digits[0] if digits else int(self.choice(np.flatnonzero(allowed)))


def endless(constraint: Constraint, begin: bytes = b"") -> bytes:
    """What a model writes that goes on with digits for as long as it may."""
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
def test_numbers_come_to_an_end_that_readers_can_read(schema: Any, begin: bytes) -> None:
    form = output_format.json_schema(schema, "schema")

    text = endless(form.constraint, begin).decode()

    form.check(text, is_cut=False)
    assert all(len(run) <= 20 for run in re.findall(r"\d+", text))
    assert math.isfinite(float(re.findall(r"-?[\d.eE+-]+", text)[0]))


def test_digits_of_strings_and_of_patterns_of_a_clients_own_go_on() -> None:
    string = output_format.json_schema({"type": "string", "pattern": "^[0-9a]{30,40}$"}, "schema")

    assert endless(string.constraint) == b'"' + b"7" * 40 + b'"'
    assert endless(Constraint("regex", r"\d{30,40}")) == b"7" * 40
