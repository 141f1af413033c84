"""`--skip-builtin-tools`: tools that only OpenAI's servers run are left out, and named."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from crossette.api.responses.service import ResponsesService
from support.api_server import say, serving

ADD: dict[str, Any] = {"type": "function", "name": "add", "parameters": {"type": "object", "properties": {}}}
OTHERS: list[Any] = [
    {"type": "web_search", "external_web_access": False},
    {"type": "namespace", "name": "agents", "description": "d", "tools": [{**ADD, "name": "spawn"}]},
    {"type": "web_search", "filters": {}},
]


def test_the_functions_are_served_and_the_others_named(prefix: str, caplog: pytest.LogCaptureFixture) -> None:
    call = '<tool_call>\n{"name": "add", "arguments": {}}\n</tool_call>'
    body = {"model": "fake", "input": say(call), "tools": [*OTHERS, ADD], "tool_choice": "required"}
    with (
        caplog.at_level(logging.INFO, "crossette"),
        serving(responses=ResponsesService(skips_builtin_tools=True)) as api,
    ):
        answers = [api.post(f"{prefix}/responses", {**body, "stream": stream}) for stream in (False, True)]

    for answer in answers:
        assert answer.status_code == 200
        assert answer.headers["x-crossette-skipped-tools"] == "web_search, namespace"
    raw = answers[0].json()
    assert [tool["name"] for tool in raw["tools"]] == ["add"]
    assert [item["name"] for item in raw["output"]] == ["add"]
    assert caplog.text.count("x-crossette-skipped-tools: web_search, namespace") == 2


def test_a_request_with_functions_only_has_no_such_header(prefix: str) -> None:
    with serving(responses=ResponsesService(skips_builtin_tools=True)) as api:
        answer = api.post(f"{prefix}/responses", {"model": "fake", "input": "Hi", "tools": [ADD]})
        faulty = api.post(
            f"{prefix}/responses", {"model": "fake", "input": "Hi", "tools": [*OTHERS, {"type": "function"}]}
        )

    assert "x-crossette-skipped-tools" not in answer.headers
    assert faulty.json()["error"]["param"] == "tools[3].name"


@pytest.mark.parametrize("index", range(len(OTHERS)))
def test_without_the_setting_they_are_rejected_by_name(prefix: str, index: int) -> None:
    with serving() as api:
        answer = api.post(f"{prefix}/responses", {"model": "fake", "input": "Hi", "tools": [ADD, OTHERS[index]]})

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "tools[1].type")
    assert OTHERS[index]["type"] in answer.json()["error"]["message"]


def test_a_type_that_is_no_name_cannot_break_the_header(prefix: str) -> None:
    kinds: list[Any] = ["a\r\nset-cookie: b", "é", "x" * 5000, {"a": 1}, 5, *(f"kind {index}" for index in range(50))]
    tools = [{"type": kind} for kind in kinds]
    with serving(responses=ResponsesService(skips_builtin_tools=True)) as api:
        answer = api.post(f"{prefix}/responses", {"model": "fake", "input": "Hi", "tools": tools})

    assert answer.status_code == 200
    assert "set-cookie" not in answer.headers
    value = answer.headers["x-crossette-skipped-tools"]
    assert value.startswith("a%0D%0Aset-cookie: b, %C3%A9, ")
    assert len(value) < 1000
