"""Every object schema as a function's parameters: the named function is called, and its arguments are valid."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Sequence
from functools import partial

import pytest

from crossette.engine import Engine, Tokenizer
from crossette.engines.grammar.compiler import GrammarCompiler
from crossette.errors import InvalidRequest, Unsupported
from crossette.generation.choice import Choice, Stops
from crossette.generation.prompt import token_id
from crossette.testing.fake_tokenizer import IM_END, FakeTokenizer
from crossette.text.output_plan import OutputPlan, output_plan
from crossette.text.pieces import calls_of, content_of
from crossette.text.tool_calls.families import FORMATS, HERMES
from crossette.text.tool_calls.format import ToolFormat
from crossette.text.tool_calls.pythonic_calls import PythonicCalls
from crossette.text.tool_calls.tool_set import ToolSet
from crossette.text.tool_calls.tools import Tool, ToolChoice
from crossette.types import FinishReason, TokenOutput
from support.schema_corpus import ACCEPTED, Schema
from support.schema_walks import SAMPLE_SIZE, corpus_of_models, generate, report, sampled, verdict, walk

pytestmark = pytest.mark.slow

NAME = "do.it-1"
PARAM = "tools[0].function.parameters"
NAMED = ToolChoice("required", (NAME,), parallel=False)
OTHERS = [Tool("do", "", {"properties": {"a": {"type": "null"}}}), Tool("do.it-11")]


OBJECTS = [schema for schema in ACCEPTED if isinstance(schema, dict) and schema.get("type", "object") == "object"]
"""Also schemas without a type: parameters are objects, so some of them match nothing."""


@pytest.fixture(scope="module")
def compiler() -> GrammarCompiler:
    return GrammarCompiler(FakeTokenizer(), 259, {IM_END})


def plan_of(tokenizer: Tokenizer, tool_format: ToolFormat, schema: Schema) -> OutputPlan:
    """The plan of a request with three tools that names the tool with this schema."""
    tools = [Tool(NAME, "It does it.", schema, PARAM), *OTHERS]
    return output_plan(partial(token_id, tokenizer), tool_set=ToolSet.of(tool_format, tools, NAMED))


def verdict_of(tokenizer: Tokenizer, plan: OutputPlan, tokens: Sequence[int], schema: Schema) -> str:
    """The verdict on a finished answer, which must be exactly one call."""
    delta = Choice(0, tokenizer, Stops(), plan).read(TokenOutput(0, tuple(tokens), FinishReason.STOP))
    assert delta is not None
    (call,) = calls_of(delta.pieces)
    assert (call.name, content_of(delta.pieces)) == (NAME, "")
    assert isinstance(json.loads(call.arguments), dict)
    return verdict(schema, call.arguments)


def test_random_calls_are_valid_for_every_object_schema(
    compiler: GrammarCompiler, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each schema in two of the thirteen formats, in rotation."""
    counts: Counter[str] = Counter()
    formats = list(FORMATS.values())
    for index, schema in enumerate(OBJECTS):
        for tool_format in (formats[index % len(formats)], formats[(index // 13 + 3 * index + 1) % len(formats)]):
            counts[random_call(compiler, tool_format, schema, seed=index)] += 1

    report(capsys, f"{len(OBJECTS)} object schemas, as parameters in two formats", counts)
    assert counts["unfinished"] < 0.05 * counts.total()
    assert counts["valid"] > 0.5 * counts.total()


def check_refusal(schema: Schema, tool_format: ToolFormat, error: InvalidRequest) -> None:
    """Check that the schema never matches an object, or cannot be expressed in the format."""
    if isinstance(error, Unsupported):
        assert (error.param, isinstance(tool_format, PythonicCalls)) == (PARAM, True), (schema, error)
    else:
        assert (error.param, schema.get("type")) == (PARAM, None), (schema, error)
        assert "no value matches" in error.message


def random_call(compiler: GrammarCompiler, tool_format: ToolFormat, schema: Schema, seed: int) -> str:
    tokenizer = FakeTokenizer()
    try:
        plan = plan_of(tokenizer, tool_format, schema)
        assert plan.constraint is not None
        matcher = compiler.matcher(plan.constraint)
    except InvalidRequest as error:
        check_refusal(schema, tool_format, error)
        return "refused"
    generated = walk(matcher, random.Random(seed))
    return "unfinished" if generated is None else verdict_of(tokenizer, plan, generated, schema)


@corpus_of_models
def test_calls_of_a_model_match_every_object_schema(
    real_engine: Engine, capsys: pytest.CaptureFixture[str], limit: int
) -> None:
    tokenizer, counts = real_engine.tokenizer, Counter[str]()
    plans: list[tuple[Schema, OutputPlan]] = []
    for schema in sampled(OBJECTS, limit):
        try:
            plan = plan_of(tokenizer, HERMES, schema)
            assert plan.constraint is not None
            real_engine.prepare(plan.constraint)
        except InvalidRequest as error:
            check_refusal(schema, HERMES, error)
            counts["refused"] += 1
        else:
            plans.append((schema, plan))
    requests = [(f"Call {NAME}: {json.dumps(schema)[:200]}\n", plan.constraint) for schema, plan in plans]
    outputs = generate(
        real_engine,
        [(text, constraint) for text, constraint in requests if constraint],
        max_tokens=100 if limit == SAMPLE_SIZE else 200,
    )
    for (schema, plan), generated in zip(plans, outputs, strict=True):
        is_complete = generated.reason == FinishReason.STOP
        counts[verdict_of(tokenizer, plan, generated.tokens, schema) if is_complete else "unfinished"] += 1

    report(capsys, f"{counts.total()} object schemas, in calls of the model at temperature 1", counts)
    assert counts["valid"] > 0.7 * (counts.total() - counts["refused"])
