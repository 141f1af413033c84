"""A real vLLM: what its documentation does not promise, and the engine relies on."""

from __future__ import annotations

import json
import logging
import re
from dataclasses import replace

import pytest

from crossette.engines.vllm.engine import VllmEngine
from crossette.errors import EngineFailure, InvalidRequest
from crossette.types import Constraint, FinishReason, GenerationRequest, TokenOutput
from support.engine_calls import ask, make_request, read, run, tokens
from support.waiting import wait_until

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(600)]

LIMIT_S = 300
END = 257
PROMPT = tuple(b"the quick brown fox jumps over the lazy dog; " * 8)


async def outputs(engine: VllmEngine, request: GenerationRequest) -> list[TokenOutput]:
    return [output async for output in engine.generate(request)]


def sampled(request: GenerationRequest, **fields: object) -> GenerationRequest:
    return replace(request, sampling=replace(request.sampling, **fields))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("constraint", "pattern"),
    [
        (Constraint("regex", "(ab|cd){3}"), "(ab|cd){3}"),
        (Constraint("json_schema", '{"const": {"a": [1, true]}}'), ""),
        (Constraint("lark", 'start: "x" start "y" | "z"'), "x*zy*"),
        (Constraint("gbnf", 'root ::= "on" | "off"'), "on|off"),
    ],
    ids=["regex", "json_schema", "lark", "gbnf"],
)
@pytest.mark.parametrize("preamble", ["", '"<t>" /[a-c]{0,3}/ "</t>"'])
def test_constraints_are_enforced(real_vllm: VllmEngine, constraint: Constraint, pattern: str, preamble: str) -> None:
    constraint = Constraint(constraint.kind, constraint.source, preamble)
    request = make_request(
        max_tokens=200, constraint=constraint, end_token_ids=frozenset({END}), ignore_eos=False, temperature=1, seed=4
    )

    choice = run(ask(real_vllm, request))[0]

    if choice.reason == FinishReason.STOP:
        text = bytes(choice.tokens[:-1]).decode()
        assert choice.tokens[-1] == END
        if preamble:
            before, found, text = text.partition("</t>")
            assert found
            assert before.startswith("<t>")
        if constraint.kind == "json_schema":
            assert json.loads(text) == json.loads(constraint.source)["const"]
        else:
            assert re.fullmatch(pattern, text)


def test_logprobs_of_prompt_and_output_are_of_one_distribution(real_vllm: VllmEngine) -> None:
    """The logprobs of generated tokens are those of the same tokens in a prompt, whatever filters apply."""

    async def work() -> tuple[list[float], list[float]]:
        request = sampled(make_request(PROMPT, temperature=0.7, max_tokens=6, seed=1, logprobs=3), top_k=5)
        made = [one for output in await outputs(real_vllm, request) for one in output.logprobs or ()]
        longer = PROMPT + tuple(one.token_id for one in made)
        (scored,) = await outputs(real_vllm, make_request(longer, max_tokens=0, logprobs=3, prompt_logprobs=True))
        assert (scored.token_ids, scored.finish_reason, scored.logprobs) == ((), FinishReason.LENGTH, ())
        assert scored.prompt_logprobs is not None
        return [one.logprob for one in made], [one.logprob for one in scored.prompt_logprobs[-6:]]

    made, scored = run(work())

    assert made == pytest.approx(scored, abs=1e-3)


def test_cached_tokens_are_counted_and_caches_are_apart(real_vllm: VllmEngine) -> None:
    async def cached(key: str) -> int:
        request = make_request(PROMPT, max_tokens=2, isolation_key=key)
        return sum(output.cached_tokens for output in await outputs(real_vllm, request))

    async def work() -> list[int]:
        return [await cached(key) for key in ("one", "one", "two")]

    assert run(work()) == [0, 256, 0]


def test_bias_penalties_and_min_tokens_have_effect(real_vllm: VllmEngine) -> None:
    async def work() -> None:
        plain = make_request(max_tokens=12)
        expected = await tokens(real_vllm, plain)
        assert await tokens(real_vllm, sampled(plain, logit_bias=((65, 100.0),))) == (65,) * 12
        penalised = sampled(plain, logit_bias=((65, 20.0),), frequency_penalty=2.0)
        assert (await tokens(real_vllm, penalised)) != (65,) * 12
        ends = sampled(plain, ignore_eos=False, min_tokens=7)
        at_least = await ask(real_vllm, replace(ends, end_token_ids=frozenset(expected)))
        assert len(at_least[0].tokens) >= 7
        assert await tokens(real_vllm, sampled(plain, temperature=1.0, top_p=0.0, seed=1)) == expected

    run(work())


def test_what_vllm_refuses_is_an_invalid_request(real_vllm: VllmEngine) -> None:
    with pytest.raises(InvalidRequest, match=r"refuses the request: .*logprobs of 65"):
        run(ask(real_vllm, make_request(logprobs=65)))


def test_a_schema_keeps_its_order_and_types(real_vllm: VllmEngine) -> None:
    schema = {
        "type": "object",
        "properties": {"b": {"type": "boolean"}, "a": {"enum": ["x", "y"]}},
        "required": ["b", "a"],
        "additionalProperties": False,
        "x-guidance": {"whitespace_flexible": False},
    }
    constraint = Constraint("json_schema", json.dumps(schema))
    request = make_request(max_tokens=100, constraint=constraint, end_token_ids=frozenset({END}), ignore_eos=False)

    choice = run(ask(real_vllm, request))[0]

    answer = json.loads(bytes(choice.tokens[:-1]))
    assert list(answer) == ["b", "a"]
    assert (type(answer["b"]), answer["a"] in ("x", "y")) == (bool, True)


def test_a_killed_vllm_comes_back(real_vllm: VllmEngine, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    process = real_vllm._server._process
    assert process is not None
    expected = run(tokens(real_vllm, make_request()))

    async def work() -> None:
        generation = real_vllm.generate(make_request(n=3, max_tokens=900))
        await anext(generation)
        process.kill()
        with pytest.raises(EngineFailure):
            await read(generation)
        assert await read(generation) == {}

    run(work())
    assert real_vllm.stats().stalled
    wait_until(lambda: not real_vllm.stats().stalled, LIMIT_S)
    assert real_vllm._server._process is not process
    assert run(tokens(real_vllm, make_request())) == expected
