"""Random requests to the real app: rejected by name or enforced, the same streamed or not.

The only 500 is that of a keyword that is left to validation, in a schema that is not strict.

The expected answers come from plain code and a validator, not from the server's code. More examples:
`scripts/test tests/api/test_fuzz.py --hypothesis-profile long`.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import replace
from itertools import cycle
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, Phase, currently_in_test_context, event, given, settings
from hypothesis import strategies as st

from crossette.api.app import App
from crossette.api.models import ServedModels
from crossette.pool.pool import ModelPool
from crossette.testing.fake_engine import FakeEngine
from crossette.testing.fake_tokenizer import IM_END
from crossette.text.schema.drafts import of_one_draft
from crossette.text.tool_calls.families import FORMATS
from crossette.types import GenerationRequest
from support.api_server import PREFIXES, events
from support.engine_calls import is_empty, run
from support.schema_strategies import conversations, schemas, tools_sent
from support.schema_walks import verdict

pytestmark = pytest.mark.slow

LIMIT_S = 60
"""Timeout of one exchange."""
ENDING = b'"}])'

by_chance = settings(
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink),  # explaining takes minutes
)
models = st.sampled_from(sorted(FORMATS))
prefixes = st.sampled_from(PREFIXES)
seeds = st.integers(0, 10**6)


def rambling(openings: tuple[str, ...]) -> Any:
    """A script: random letters, brackets and prefixes of calls, then tokens that lead to an end."""

    def script(request: GenerationRequest, index: int) -> Iterator[int]:
        rng = random.Random(f"{request.sampling.seed}-{index}")
        for _ in range(rng.randrange(4)):
            yield from rng.choice([*openings, "words ", '{"a": 1}', "é\n", '"', "<think>"]).encode()
            yield rng.randrange(256)
        yield from cycle((IM_END, *ENDING))

    return script


def make_app() -> tuple[App, list[FakeEngine]]:
    """A model for each tool-call format, named after it."""
    engines = []
    for name, tool_format in FORMATS.items():
        engine = FakeEngine(rambling((*tool_format.openings, tool_format.render([("get", '{"a": true}')]))), name=name)
        engine.info = replace(engine.info, tool_format=name)
        engines.append(engine)
    return App(ServedModels(ModelPool.of({engine.info.name: engine for engine in engines}))), engines


APP, ENGINES = make_app()


def exchanged(path: str, body: dict[str, Any]) -> tuple[httpx.Response, httpx.Response]:
    """The same request twice, with and without streaming."""

    async def work() -> tuple[httpx.Response, httpx.Response]:
        transport = httpx.ASGITransport(app=APP, raise_app_exceptions=True)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.post(path, json=body), await client.post(path, json=body | {"stream": True})

    answers = run(work(), LIMIT_S)
    assert all(map(is_empty, ENGINES))
    return answers


def accumulated(stream: bytes) -> tuple[str, str | None, list[tuple[str, str]]]:
    """Content, finish reason, and each call's name and arguments, accumulated as clients do."""
    content, reason, calls = "", None, list[tuple[str, str]]()
    for chunk in events(stream):
        for choice in chunk["choices"]:
            delta = choice["delta"]
            content += delta.get("content") or ""
            reason = choice["finish_reason"] or reason
            for call in delta.get("tool_calls") or ():
                if call.get("id"):
                    assert call["index"] == len(calls)
                    calls.append((call["function"]["name"], ""))
                name, arguments = calls[call["index"]]
                calls[call["index"]] = (name, arguments + call["function"].get("arguments", ""))
            if legacy := delta.get("function_call"):
                if "name" in legacy:
                    calls.append((legacy["name"], ""))
                calls[-1] = (calls[-1][0], calls[-1][1] + legacy.get("arguments", ""))
    return content, reason, calls


def answer_of(answer: Any) -> tuple[str, str | None, list[tuple[str, str]]]:
    """The same of an answer without streaming."""
    (choice,) = answer["choices"]
    message = choice["message"]
    calls = [call["function"] for call in message.get("tool_calls") or ()]
    calls += [message["function_call"]] if message.get("function_call") else []
    return message["content"] or "", choice["finish_reason"], [(call["name"], call["arguments"]) for call in calls]


def answered(prefix: str, body: dict[str, Any]) -> tuple[str, str | None, list[tuple[str, str]]] | None:
    """The answer, which is the same streamed or not; None if both are rejected with the same error."""
    whole, stream = exchanged(f"{prefix}/chat/completions", body)
    assert (whole.status_code, stream.status_code) in ((200, 200), (400, 400)), (body, whole.text, stream.text)
    if currently_in_test_context():
        event("refused" if whole.status_code == 400 else f"answered, {answer_of(whole.json())[1]}")
    if whole.status_code == 400:
        error, again = whole.json()["error"], stream.json()["error"]
        assert (error["message"], error["param"]) == (again["message"], again["param"])
        assert error["param"], (body, error)
        assert len(error["message"]) < 8000  # twenty faults
        return None
    assert answer_of(whole.json()) == accumulated(stream.content), body
    return answer_of(whole.json())


def is_schema_of(text: str, schema: Any) -> bool:
    return verdict(of_one_draft(schema), text) == "valid"


@by_chance
@given(schemas(), conversations(), models, prefixes, seeds)
def test_a_response_format_is_enforced_or_rejected(
    schema: Any, messages: list[dict[str, Any]], model: str, prefix: str, seed: int
) -> None:
    sent = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema, "strict": True}}
    body = {"model": model, "messages": messages, "response_format": sent, "seed": seed, "max_tokens": 400}

    answer = answered(prefix, body)

    if answer is not None:
        content, reason, calls = answer
        assert calls == []
        assert reason == "length" or is_schema_of(content, schema), (body, content)


@by_chance
@given(tools_sent(), conversations(), models, prefixes, seeds)
def test_a_tool_choice_is_enforced_or_rejected(
    sent: dict[str, Any], messages: list[dict[str, Any]], model: str, prefix: str, seed: int
) -> None:
    body = {"model": model, "messages": messages, "seed": seed, "max_tokens": 400, **sent}

    answer = answered(prefix, body)

    if answer is not None:
        check_calls(sent, *answer)


def check_calls(sent: dict[str, Any], content: str, reason: str | None, calls: list[tuple[str, str]]) -> None:
    offered = sent.get("functions") or [tool["function"] for tool in sent["tools"]]
    by_name = {function["name"]: function for function in offered}
    mode, names = asked_for(sent)
    assert {name for name, _ in calls} <= set(names if names else by_name), (sent, calls)
    if mode == "none":
        assert calls == []
    if mode == "required":
        assert reason in ("tool_calls", "function_call", "length"), (sent, content)
    if mode == "named" or "functions" in sent or sent.get("parallel_tool_calls") is False:
        assert len(calls) <= 1, (sent, calls)
    if reason != "length":
        assert (reason != "stop") == bool(calls)
        for name, arguments in calls:
            assert isinstance(json.loads(arguments), dict)
            assert is_schema_of(arguments, by_name[name].get("parameters") or {}), (sent, calls)


def asked_for(sent: dict[str, Any]) -> tuple[str, list[str]]:
    """The mode of a choice, and the names that it allows: [] for all."""
    choice = sent.get("tool_choice", sent.get("function_call", "auto"))
    if isinstance(choice, str):
        return {"any": "required"}.get(choice, choice), []
    if "functions" in sent:
        return "named", [choice["name"]]
    if choice["type"] == "function":
        return "named", [_name(choice)]
    if choice["type"] != "allowed_tools":
        return {"any": "required"}.get(choice["type"], choice["type"]), []
    inner = choice.get("allowed_tools", choice)
    return {"any": "required"}.get(inner["mode"], inner["mode"]), [_name(tool) for tool in inner["tools"]]


def _name(tool: dict[str, Any]) -> str:
    return str(tool.get("function", tool)["name"])


@by_chance
@given(tools_sent(), schemas(), models, prefixes, seeds)
def test_a_response_format_beside_tools_is_enforced_if_nothing_is_called(
    sent: dict[str, Any], schema: Any, model: str, prefix: str, seed: int
) -> None:
    response_format = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema, "strict": True}}
    messages = [{"role": "user", "content": "Go."}]
    body = {
        "model": model,
        "messages": messages,
        "response_format": response_format,
        "seed": seed,
        "max_tokens": 400,
        **sent,
    }

    answer = answered(prefix, body)

    if answer is not None:
        content, reason, calls = answer
        check_calls(sent, content, reason, calls)
        assert calls or reason == "length" or is_schema_of(content, schema), (body, content)


def checked(prefix: str, body: dict[str, Any]) -> tuple[str, str | None, list[tuple[str, str]]] | None:
    """The answer to a request that is not strict; None if it is rejected, or fails validation."""
    whole, stream = exchanged(f"{prefix}/chat/completions", body)
    for answer in (whole, stream):
        assert answer.status_code in (200, 400, 500), (body, answer.text)
        assert answer.status_code != 500 or is_failed_check(answer), (body, answer.text)
    assert (whole.status_code == 400) == (stream.status_code == 400), (body, whole.text, stream.text)
    if currently_in_test_context():
        event(f"status {whole.status_code}")
    return answer_of(whole.json()) if whole.status_code == 200 else None


def is_failed_check(answer: httpx.Response) -> bool:
    return "constraint_failed" in answer.text.lower() and "does not match" in answer.text


@by_chance
@given(schemas(), conversations(), models, prefixes, seeds)
def test_a_response_format_that_is_not_strict_is_checked(
    schema: Any, messages: list[dict[str, Any]], model: str, prefix: str, seed: int
) -> None:
    sent = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    body = {"model": model, "messages": messages, "response_format": sent, "seed": seed, "max_tokens": 400}

    answer = checked(prefix, body)

    if answer is not None:
        content, reason, _ = answer
        assert reason == "length" or is_schema_of(content, schema), (body, content)


@by_chance
@given(tools_sent(strict=False), conversations(), models, prefixes, seeds)
def test_tools_that_are_not_strict_are_checked(
    sent: dict[str, Any], messages: list[dict[str, Any]], model: str, prefix: str, seed: int
) -> None:
    body = {"model": model, "messages": messages, "seed": seed, "max_tokens": 400, **sent}

    answer = checked(prefix, body)

    if answer is not None:
        check_calls(sent, *answer)


@pytest.mark.parametrize("model", sorted(FORMATS))
def test_random_tools_are_called_in_every_format(model: str) -> None:
    """Check that the cases above occur."""
    parameters: dict[str, Any] = {"properties": {"a": {}}}
    functions = [{"name": name, "parameters": parameters} for name in ("get", "b")]
    tools = [{"type": "function", "function": function} for function in functions]
    num_called = {"auto": 0, "required": 0}
    for mode in num_called:
        for seed in range(12):
            body = {"model": model, "messages": [{"role": "user", "content": "Go."}], "seed": seed, "tools": tools}
            answer = answered("/v1", body | {"tool_choice": mode, "max_tokens": 600})
            assert answer is not None
            num_called[mode] += answer[1] == "tool_calls"

    assert num_called["required"] > 6
    assert 0 < num_called["auto"] < 12
