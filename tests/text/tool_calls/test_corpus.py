"""Every schema of an object as a function's parameters: the call that is named is made, and its arguments are valid."""

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
from crossette.testing.fake_engine import IM_END, FakeTokenizer
from crossette.text.output_plan import OutputPlan, output_plan
from crossette.text.pieces import calls_of, content_of
from crossette.text.tool_calls.families import FORMATS, HERMES
from crossette.text.tool_calls.format import ToolFormat
from crossette.text.tool_calls.pythonic_calls import PythonicCalls
from crossette.text.tool_calls.tool_set import ToolSet
from crossette.text.tool_calls.tools import Tool, ToolChoice
from crossette.types import FinishReason, TokenOutput
from support.schema_corpus import ACCEPTED, Schema
from support.schema_walks import SHORT_FORM, corpus_of_models, said_by, sampled, shown, verdict, walk

NAME = "do.it-1"
PARAM = "tools[0].function.parameters"
NAMED = ToolChoice("required", (NAME,), parallel=False)
OTHERS = [Tool("do", "", {"properties": {"a": {"type": "null"}}}), Tool("do.it-11")]


OBJECTS = [schema for schema in ACCEPTED if isinstance(schema, dict) and schema.get("type", "object") == "object"]
"""And those that do not say what they are: parameters are objects, so some of them become impossible."""


@pytest.fixture(scope="module")
def compiler() -> GrammarCompiler:
    return GrammarCompiler(FakeTokenizer(), 259, {IM_END})


def plan_of(tokenizer: Tokenizer, tool_format: ToolFormat, schema: Schema) -> OutputPlan:
    """What a request is held to that sends three tools, and names the one of this schema."""
    tools = [Tool(NAME, "It does it.", schema, PARAM), *OTHERS]
    return output_plan(partial(token_id, tokenizer), tool_set=ToolSet.of(tool_format, tools, NAMED))


def heard(tokenizer: Tokenizer, plan: OutputPlan, tokens: Sequence[int], schema: Schema) -> str:
    """A verdict on an answer that has ended: it is the one call, and nothing else."""
    delta = Choice(0, tokenizer, Stops(), plan).read(TokenOutput(0, tuple(tokens), FinishReason.STOP))
    assert delta is not None
    (call,) = calls_of(delta.pieces)
    assert (call.name, content_of(delta.pieces)) == (NAME, "")
    assert isinstance(json.loads(call.arguments), dict)
    return verdict(schema, call.arguments)


def test_every_object_is_called_with_by_chance_in_every_format(
    compiler: GrammarCompiler, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each schema in two formats of the thirteen, which take turns."""
    counts: Counter[str] = Counter()
    formats = list(FORMATS.values())
    for place, schema in enumerate(OBJECTS):
        for tool_format in (formats[place % len(formats)], formats[(place // 13 + 3 * place + 1) % len(formats)]):
            counts[by_chance(compiler, tool_format, schema, seed=place)] += 1

    shown(capsys, f"{len(OBJECTS)} schemas of objects, as parameters in two formats", counts)
    assert counts["unfinished"] < 0.05 * counts.total()
    assert counts["valid"] > 0.5 * counts.total()


def check_refusal(schema: Schema, tool_format: ToolFormat, error: InvalidRequest) -> None:
    """Only for what is never an object, or what the format has no words for."""
    if isinstance(error, Unsupported):
        assert (error.param, isinstance(tool_format, PythonicCalls)) == (PARAM, True), (schema, error)
    else:
        assert (error.param, schema.get("type")) == ("tools", None), (schema, error)
        assert "Unsatisfiable" in error.message


def by_chance(compiler: GrammarCompiler, tool_format: ToolFormat, schema: Schema, seed: int) -> str:
    tokenizer = FakeTokenizer()
    try:
        plan = plan_of(tokenizer, tool_format, schema)
        assert plan.constraint is not None
        matcher = compiler.matcher(plan.constraint)
    except InvalidRequest as error:
        check_refusal(schema, tool_format, error)
        return "refused"
    said = walk(matcher, random.Random(seed))
    return "unfinished" if said is None else heard(tokenizer, plan, said, schema)


@corpus_of_models
def test_a_model_calls_with_every_object(real_engine: Engine, capsys: pytest.CaptureFixture[str], limit: int) -> None:
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
    asked = [(f"Call {NAME}: {json.dumps(schema)[:200]}\n", plan.constraint) for schema, plan in plans]
    outputs = said_by(
        real_engine,
        [(text, constraint) for text, constraint in asked if constraint],
        max_tokens=100 if limit == SHORT_FORM else 200,
    )
    for (schema, plan), said in zip(plans, outputs, strict=True):
        is_whole = said.reason == FinishReason.STOP
        counts[heard(tokenizer, plan, said.tokens, schema) if is_whole else "unfinished"] += 1

    shown(capsys, f"{counts.total()} schemas of objects, called with by the model at temperature 1", counts)
    assert counts["valid"] > 0.7 * (counts.total() - counts["refused"])
