"""Schemas against a validator: what is accepted is kept to, and what is not accepted is refused by name."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterable

import pytest

from crossette.engine import Engine
from crossette.engines.grammar.compiler import GrammarCompiler
from crossette.errors import InvalidRequest
from crossette.testing.fake_engine import IM_END, FakeTokenizer
from crossette.text import output_format
from crossette.text.output_format import OutputFormat
from crossette.types import FinishReason
from support.schema_corpus import ACCEPTED, REFUSED, Schema, random_schemas
from support.schema_walks import SHORT_FORM, corpus_of_models, said_by, sampled, shown, verdict, walk

NUM_RANDOM = 120
NUM_WALKS = 3


@pytest.fixture(scope="module")
def compiler() -> GrammarCompiler:
    return GrammarCompiler(FakeTokenizer(), 259, {IM_END})


def walks(compiler: GrammarCompiler, schema: Schema, form: OutputFormat) -> Iterable[str]:
    for seed in range(NUM_WALKS):
        said = walk(compiler.matcher(form.constraint), random.Random(seed))
        text = None if said is None else said.decode()
        # The second look of the server and the validator of the test must say the same.
        assert text is None or form.validator is None or form.validator.fault(text) is None, (schema, text)
        yield verdict(schema, text)


def test_what_random_tokens_say_is_valid_for_every_schema(
    compiler: GrammarCompiler, capsys: pytest.CaptureFixture[str]
) -> None:
    counts: Counter[str] = Counter()
    for schema in ACCEPTED:
        counts.update(walks(compiler, schema, output_format.json_schema(schema, "p")))

    shown(capsys, f"{len(ACCEPTED)} schemas that are accepted", counts)
    assert counts["unfinished"] < 0.05 * counts.total()


def test_schemas_put_together_by_chance_are_kept_to_or_refused_by_name(
    compiler: GrammarCompiler, capsys: pytest.CaptureFixture[str]
) -> None:
    counts: Counter[str] = Counter()
    for schema in random_schemas(seed=7, number=NUM_RANDOM):
        try:
            form = output_format.json_schema(schema, "p")
            compiler.matcher(form.constraint)
        except InvalidRequest as error:
            assert " at '" in error.message, error.message
            counts["refused"] += 1
        else:
            counts.update(walks(compiler, schema, form))

    shown(capsys, f"{NUM_RANDOM} schemas by chance", counts)
    assert counts["refused"] < 0.5 * NUM_RANDOM


@pytest.mark.parametrize(("schema", "pointer", "word"), REFUSED)
def test_what_cannot_be_enforced_is_refused_by_pointer_and_keyword(
    compiler: GrammarCompiler, schema: Schema, pointer: str, word: str
) -> None:
    with pytest.raises(InvalidRequest) as raised:
        compiler.matcher(output_format.json_schema(schema, "p").constraint)

    assert f"'{pointer}'" in raised.value.message or schema is False
    assert word in raised.value.message
    assert (raised.value.param, len(raised.value.message) < 500) == ("p", True)


@corpus_of_models
def test_a_model_keeps_to_schemas(real_engine: Engine, capsys: pytest.CaptureFixture[str], limit: int) -> None:
    schemas = sampled(ACCEPTED, limit)
    forms = [output_format.json_schema(schema, "p") for schema in schemas]
    asked = [
        (f"JSON for {json.dumps(schema)[:200]}:\n", form.constraint)
        for schema, form in zip(schemas, forms, strict=True)
    ]
    counts: Counter[str] = Counter()
    for schema, said in zip(
        schemas, said_by(real_engine, asked, max_tokens=100 if limit == SHORT_FORM else 200), strict=True
    ):
        text = b"".join(map(real_engine.tokenizer.token_bytes, said.tokens)).decode("utf-8", "replace")
        counts[verdict(schema, text if said.reason == FinishReason.STOP else None)] += 1

    shown(capsys, f"{len(schemas)} schemas, by the model at temperature 1", counts)
    assert counts["valid"] > len(schemas) / 2
