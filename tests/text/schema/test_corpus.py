"""Schemas tested against a validator: accepted schemas are enforced, and errors name the rejected keyword."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterable

import jsonschema_rs
import pytest

from crossette.engine import Engine
from crossette.engines.grammar.compiler import GrammarCompiler
from crossette.errors import InvalidRequest
from crossette.testing.fake_tokenizer import IM_END, FakeTokenizer
from crossette.text import output_format
from crossette.text.output_format import OutputFormat
from crossette.types import FinishReason
from support.schema_corpus import ACCEPTED, CHECKED, REFUSED, Schema, mixed, random_schemas
from support.schema_walks import SAMPLE_SIZE, corpus_of_models, generate, report, sampled, verdict, walk

pytestmark = pytest.mark.slow

NUM_RANDOM = 120
NUM_WALKS = 3


@pytest.fixture(scope="module")
def compiler() -> GrammarCompiler:
    return GrammarCompiler(FakeTokenizer(), 259, {IM_END})


def walks(compiler: GrammarCompiler, schema: Schema, answer_format: OutputFormat) -> Iterable[str]:
    """The verdicts on random texts by a validator that knows only `schema`."""
    for seed in range(NUM_WALKS):
        generated = walk(compiler.matcher(answer_format.constraint), random.Random(seed))
        text = None if generated is None else generated.decode()
        # The validator of the server and that of the test must agree.
        validator = answer_format.validator
        assert text is None or validator is None or validator.fault(text) is None, (schema, text)
        yield verdict(schema, text)


def test_random_tokens_are_valid_for_every_schema(
    compiler: GrammarCompiler, capsys: pytest.CaptureFixture[str]
) -> None:
    counts: Counter[str] = Counter()
    for schema in ACCEPTED:
        answer_format = output_format.json_schema(schema, "p", strict=True)
        assert answer_format.checked == output_format.json_schema(schema, "p").checked == ()
        counts.update(walks(compiler, schema, answer_format))

    report(capsys, f"{len(ACCEPTED)} schemas that are accepted", counts)
    assert counts["unfinished"] < 0.05 * counts.total()


def test_keywords_of_other_drafts_are_enforced_without_a_draft(
    compiler: GrammarCompiler, capsys: pytest.CaptureFixture[str]
) -> None:
    counts: Counter[str] = Counter()
    for sent, same in mixed():
        counts.update(walks(compiler, same, output_format.json_schema(sent, "p", strict=True)))

    report(capsys, "schemas of mixed drafts", counts)
    assert counts["valid"] > 20


def test_random_schemas_are_enforced_or_rejected_by_pointer(
    compiler: GrammarCompiler, capsys: pytest.CaptureFixture[str]
) -> None:
    counts: Counter[str] = Counter()
    for schema in random_schemas(seed=7, number=NUM_RANDOM):
        try:
            answer_format = output_format.json_schema(schema, "p", strict=True)
            compiler.matcher(answer_format.constraint)
            jsonschema_rs.validator_for(schema, offline=True)  # of one draft
        except jsonschema_rs.ValidationError:
            continue
        except InvalidRequest as error:
            assert " at '" in error.message, error.message
            counts["refused"] += 1
        else:
            counts.update(walks(compiler, schema, answer_format))

    report(capsys, f"{NUM_RANDOM} random schemas", counts)
    assert counts["refused"] < 0.5 * NUM_RANDOM


@pytest.mark.parametrize(("schema", "pointer", "expected"), CHECKED)
def test_the_error_of_a_strict_schema_has_pointer_and_keyword(schema: Schema, pointer: str, expected: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        output_format.json_schema(schema, "p", strict=True)

    assert f"'{pointer}'" in raised.value.message
    assert expected in raised.value.message
    assert (raised.value.param, len(raised.value.message) < 500) == ("p", True)


@pytest.mark.parametrize(("schema", "pointer", "expected"), CHECKED)
def test_what_is_not_enforced_is_checked(
    compiler: GrammarCompiler, schema: Schema, pointer: str, expected: str
) -> None:
    answer_format = output_format.json_schema(schema, "p")
    assert answer_format.validator is not None

    assert answer_format.checked == (pointer,)
    for seed in range(10):
        generated = walk(compiler.matcher(answer_format.constraint), random.Random(seed))
        if generated is not None:
            is_valid = verdict(schema, generated.decode()) == "valid"
            assert (answer_format.validator.fault(generated.decode()) is None) == is_valid


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize(("schema", "pointer", "expected"), REFUSED)
def test_the_error_of_an_unsatisfiable_schema_has_a_pointer(
    compiler: GrammarCompiler, schema: Schema, pointer: str, expected: str, strict: bool
) -> None:
    with pytest.raises(InvalidRequest) as raised:
        compiler.matcher(output_format.json_schema(schema, "p", strict=strict).constraint)

    assert f"'{pointer}'" in raised.value.message or "is false" in raised.value.message
    assert expected in raised.value.message
    assert (raised.value.param, len(raised.value.message) < 500) == ("p", True)


@corpus_of_models
def test_output_of_a_model_matches_its_schema(
    real_engine: Engine, capsys: pytest.CaptureFixture[str], limit: int
) -> None:
    schemas = sampled(ACCEPTED, limit)
    formats = [output_format.json_schema(schema, "p") for schema in schemas]
    requests = [
        (f"JSON for {json.dumps(schema)[:200]}:\n", answer_format.constraint)
        for schema, answer_format in zip(schemas, formats, strict=True)
    ]
    counts: Counter[str] = Counter()
    for schema, generated in zip(
        schemas, generate(real_engine, requests, max_tokens=100 if limit == SAMPLE_SIZE else 200), strict=True
    ):
        text = b"".join(map(real_engine.tokenizer.token_bytes, generated.tokens)).decode("utf-8", "replace")
        counts[verdict(schema, text if generated.reason == FinishReason.STOP else None)] += 1

    report(capsys, f"{len(schemas)} schemas, by the model at temperature 1", counts)
    assert counts["valid"] > len(schemas) / 2
