"""Schemas against a validator: what is accepted is kept to, and what is not accepted is refused by name."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Iterable
from typing import Any

import jsonschema_rs
import pytest

from crossette.engine import Engine
from crossette.engines.fake import IM_END, FakeTokenizer
from crossette.engines.grammar import GrammarCompiler, Matcher
from crossette.errors import InvalidRequest
from crossette.text import structured
from crossette.text.structured import Form
from crossette.types import FinishReason
from engine_calls import ask, make_request, run
from schema_corpus import ACCEPTED, REFUSED, Schema, random_schemas

NUM_RANDOM = 120
NUM_WALKS = 3
MAX_TOKENS = 1500
LONG = 60
"""Bytes after which a walk ends what it can: chance alone leaves one string in a hundred bytes, and lists never."""


@pytest.fixture(scope="module")
def compiler() -> GrammarCompiler:
    return GrammarCompiler(FakeTokenizer(), 259, {IM_END})


def walk(matcher: Matcher, rng: random.Random) -> str | None:
    """A text that the grammar allows, by chance; None if it has no end by `MAX_TOKENS`."""
    said = bytearray()
    while not matcher.is_over and len(said) < MAX_TOKENS:
        allowed = {int(token) for token in matcher.allowed().nonzero()[0]}
        ends = [token for token in (IM_END, *b'"}]') if token in allowed] if len(said) > LONG else []
        token = ends[0] if ends else rng.choice(sorted(allowed))
        if token == IM_END:
            break
        said.append(token)
        matcher.note(token)
    return said.decode() if matcher.is_accepting else None


def verdict(schema: Schema, text: str | None) -> str:
    """By a validator that is told of nothing but the schema, as it was sent."""
    if text is None:
        return "unfinished"
    value = json.loads(text, parse_float=lambda digits: min(float(digits), 1e300), parse_int=int)
    return "valid" if jsonschema_rs.is_valid(schema, value, validate_formats=True) else f"INVALID {schema}: {text}"


def walks(compiler: GrammarCompiler, schema: Schema, form: Form) -> Iterable[str]:
    for seed in range(NUM_WALKS):
        text = walk(compiler.matcher(form.constraint), random.Random(seed))
        # The second look of the server and the validator of the test must say the same.
        assert text is None or form.validator is None or form.validator.fault(text) is None, (schema, text)
        yield verdict(schema, text)


def shown(capsys: pytest.CaptureFixture[str], what: str, counts: Counter[str]) -> None:
    with capsys.disabled():
        print(f"\n{what}: " + ", ".join(f"{count} {name[:300]}" for name, count in sorted(counts.items())))


def test_what_random_tokens_say_is_valid_for_every_schema(
    compiler: GrammarCompiler, capsys: pytest.CaptureFixture[str]
) -> None:
    counts: Counter[str] = Counter()
    for schema in ACCEPTED:
        counts.update(walks(compiler, schema, structured.json_schema(schema, "p")))

    shown(capsys, f"{len(ACCEPTED)} schemas that are accepted", counts)
    assert set(counts) <= {"valid", "unfinished"}
    assert counts["unfinished"] < 0.05 * counts.total()


def test_schemas_put_together_by_chance_are_kept_to_or_refused_by_name(
    compiler: GrammarCompiler, capsys: pytest.CaptureFixture[str]
) -> None:
    counts: Counter[str] = Counter()
    for schema in random_schemas(seed=7, number=NUM_RANDOM):
        try:
            form = structured.json_schema(schema, "p")
            compiler.matcher(form.constraint)
        except InvalidRequest as error:
            assert " at '" in error.message, error.message
            counts["refused"] += 1
        else:
            counts.update(walks(compiler, schema, form))

    shown(capsys, f"{NUM_RANDOM} schemas by chance", counts)
    assert set(counts) <= {"valid", "unfinished", "refused"}
    assert counts["refused"] < 0.5 * NUM_RANDOM


@pytest.mark.parametrize(("schema", "pointer", "word"), REFUSED)
def test_what_cannot_be_enforced_is_refused_by_pointer_and_keyword(
    compiler: GrammarCompiler, schema: Schema, pointer: str, word: str
) -> None:
    with pytest.raises(InvalidRequest) as raised:
        compiler.matcher(structured.json_schema(schema, "p").constraint)

    assert f"'{pointer}'" in raised.value.message or schema is False
    assert word in raised.value.message
    assert (raised.value.param, len(raised.value.message) < 500) == ("p", True)


# --- with a model ---


def said_by(engine: Engine, schemas: list[Schema], max_tokens: int) -> Counter[str]:
    """All schemas at once, at temperature 1."""
    forms = [structured.json_schema(schema, "p") for schema in schemas]
    for form in forms:
        engine.prepare(form.constraint)

    async def say(schema: Schema, form: Form) -> str:
        request = make_request(
            tuple(engine.tokenizer.encode(f"JSON for {json.dumps(schema)[:200]}:\n", specials=False)),
            constraint=form.constraint,
            max_tokens=max_tokens,
            temperature=1.0,
            seed=5,
            ignore_eos=False,
            end_token_ids=engine.info.end_token_ids,
        )
        said = (await ask(engine, request))[0]
        text = b"".join(map(engine.tokenizer.token_bytes, said.tokens)).decode()
        return verdict(schema, text if said.reason == FinishReason.STOP else None)

    async def all_of_them() -> list[Any]:
        return await asyncio.gather(*map(say, schemas, forms))

    return Counter(run(all_of_them(), limit_s=280))


def test_a_model_keeps_to_schemas(real_engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    sample = ACCEPTED[::12]
    counts = said_by(real_engine, sample, max_tokens=60)

    shown(capsys, f"{len(sample)} schemas by the model", counts)
    assert set(counts) <= {"valid", "unfinished"}
    assert counts["valid"] > len(sample) / 2


@pytest.mark.all
def test_a_model_keeps_to_every_schema(real_engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    counts = said_by(real_engine, ACCEPTED, max_tokens=60)

    shown(capsys, f"{len(ACCEPTED)} schemas by the model", counts)
    assert set(counts) <= {"valid", "unfinished"}
    assert counts["valid"] > len(ACCEPTED) / 2
