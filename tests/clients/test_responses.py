"""Programs that speak the Responses API, and Codex, in both dialects."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from crossette.accounts.responses import MemoryResponses
from crossette.api.responses.service import ResponsesService
from crossette.testing.fake_engine import FakeEngine
from support.api_server import PREFIXES, ApiServer, in_turns, parrot, say, serving
from support.client_environments import npm_folder, run_client, typecheck
from support.response_events import response_events

pytestmark = [pytest.mark.all, pytest.mark.timeout(1200)]  # the first test may install all

PLACE = {"city": "Paris", "country": "France"}


def call(name: str, **arguments: str) -> str:
    return f"<tool_call>\n{json.dumps({'name': name, 'arguments': arguments})}\n</tool_call>"


WEATHER = call("weather", city="Paris")
EXEC = call("exec_command", cmd="echo 40$((1+1))")
CODEX = """\
model = "fake"
model_provider = "crossette"
[model_providers.crossette]
name = "crossette"
base_url = "{base_url}"
wire_api = "responses"
request_max_retries = 0
stream_max_retries = 0
"""
LONG = 10**6
"""A context window for the prompts of Codex, one token per byte."""


@pytest.fixture(scope="module")
def server() -> Iterator[ApiServer]:
    service = ResponsesService(skips_builtin_tools=True, store=MemoryResponses(timedelta(hours=1)))
    with serving(FakeEngine(parrot, context_length=LONG), responses=service) as api:
        yield api


def told(server: ApiServer, environment: str, program: str) -> Any:
    """What a program was told, by base URL."""
    asked = {
        "root": server.root,
        "hello": say("hello"),
        "place": say(json.dumps(PLACE)),
        "call": say(WEATHER),
        "turns": in_turns(WEATHER, "It is $1."),
    }
    answered = run_client(environment, program, json.dumps(asked))
    assert set(answered) == set(PREFIXES)
    assert answered[PREFIXES[0]].keys() == answered[PREFIXES[1]].keys()
    return answered


@pytest.mark.parametrize("prefix_", PREFIXES)
def test_openai_of_python(server: ApiServer, prefix_: str) -> None:
    assert told(server, "openai_3", "responses_openai.py")[prefix_] == {
        "create": "hello",
        "stream": "hello",
        "last event": "response.completed",
        "deltas": 5,
        "parse": PLACE,
        "call": ["weather", {"city": "Paris"}],
        "loop": ["It is sunny.", "It is sunny."],
        "background": "hello",
        "items": ["message"],
        "counted": True,
        "deleted": "not_found" if prefix_ == "/v1" else "NOT_FOUND",
        "async": ["hello", PLACE],
    }


@pytest.mark.parametrize("prefix_", PREFIXES)
def test_openai_agents(server: ApiServer, prefix_: str) -> None:
    assert told(server, "openai_agents", "responses_agents.py")[prefix_] == {
        "loop": "It is sunny in Paris.",
        "stream": "It is sunny in Paris.",
        "typed": PLACE,
        "by id": "It is sunny in Paris.",
        "session": "It is sunny in Paris.",
    }


@pytest.mark.parametrize("prefix_", PREFIXES)
def test_openai_of_npm(server: ApiServer, prefix_: str) -> None:
    assert told(server, "openai_js", "responses_openai.ts")[prefix_] == {
        "create": "hello",
        "stream": "hello",
        "last event": "response.completed",
        "parse": PLACE,
        "loop": "It is sunny.",
        "retrieved": True,
    }


@pytest.mark.parametrize("prefix_", PREFIXES)
def test_the_default_provider_of_the_ai_sdk(server: ApiServer, prefix_: str) -> None:
    assert told(server, "ai_sdk_openai", "responses_ai_sdk.ts")[prefix_] == {
        "text": "hello",
        "usage": 5,
        "loop": "It is sunny in Paris.",
        "loop, not stored": "It is sunny in Paris.",
        "stream": "It is sunny in Paris.",
        "typed": PLACE,
    }


@pytest.mark.parametrize("prefix_", PREFIXES)
def test_codex_answers_and_runs_a_command(server: ApiServer, prefix_: str, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(CODEX.format(base_url=server.root + prefix_), encoding="utf-8")
    told_items = codex(tmp_path, in_turns(EXEC, "It printed: $1"))

    commands = [item for item in told_items if item["type"] == "command_execution"]
    assert [(item["exit_code"], "402" in item["aggregated_output"]) for item in commands] == [(0, True)]
    assert "402" in [item["text"] for item in told_items if item["type"] == "agent_message"][-1]


def codex(home: Path, prompt: str) -> list[Any]:
    """The items that a headless run of Codex completed."""
    program = npm_folder("codex") / "node_modules/.bin/codex"
    ran = subprocess.run(
        [str(program), "exec", "--skip-git-repo-check", "--json", "--cd", str(home), prompt],
        env={**os.environ, "CODEX_HOME": str(home)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    events = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")]
    return [event["item"] for event in events if event["type"] == "item.completed"]


FORMAT = {"type": "json_schema", "name": "place", "schema": {"type": "object"}}
TOOL = {"type": "function", "name": "weather", "parameters": {"type": "object", "properties": {}}}
BODIES: dict[str, Any] = {
    "text and a call": {"input": say(f"Wait.\n{call('weather')}"), "tools": [TOOL], "temperature": 0.5},
    "logprobs": {"input": say("hello"), "top_logprobs": 1, "metadata": {"a": "b"}, "max_output_tokens": 3},
    "a format": {"input": say("{}"), "text": {"format": FORMAT}},
}
BEYOND = {"response.text.format.JsonSchemaResponseFormat.schema: Input should be null"}
"""The specification's document has null for every schema, by a slip: clients need the schema."""


@pytest.mark.parametrize("name", BODIES)
def test_the_events_are_those_of_the_open_responses_specification(server: ApiServer, name: str) -> None:
    answer = server.post("/v1/responses", {"model": "fake", "stream": True, **BODIES[name]})
    told_events = response_events(answer.content)
    faults = run_client("open_responses", "open_responses_types.py", json.dumps(told_events))

    assert faults.keys() == {event["type"] for event in told_events}
    found = {fault for of_kind in faults.values() for fault in of_kind}
    assert {fault for fault in found if "ResponseFormat.type" not in fault} == (BEYOND if name == "a format" else set())


@pytest.mark.parametrize(
    ("environment", "program"), [("openai_js", "responses_openai.ts"), ("ai_sdk_openai", "responses_ai_sdk.ts")]
)
def test_the_typescript_programs_compile(environment: str, program: str) -> None:
    assert typecheck(environment, program) == ""
