"""Tools for a fake model, requests with them, and the calls in its answers."""

from __future__ import annotations

import json
from typing import Any

from support.api_server import ApiServer, say

CITY: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 9}, "unit": {"enum": ["C", "F"]}},
    "required": ["city"],
}
ADD: dict[str, Any] = {
    "type": "object",
    "properties": {"a": {"type": "integer", "minimum": 0, "maximum": 99}, "b": {"type": "boolean"}},
    "required": ["a", "b"],
}
FUNCTIONS = [
    {"name": "weather", "description": "The weather of a city", "parameters": CITY},
    {"name": "add", "parameters": ADD, "strict": True},
    {"name": "now"},
]
TOOLS = [{"type": "function", "function": function} for function in FUNCTIONS]
SCHEMAS = {"weather": CITY, "add": ADD, "now": {"type": "object", "maxProperties": 0}}
OSLO = '{"city": "Oslo"}'
CALL = f'<tool_call>\n{{"name": "weather", "arguments": {OSLO}}}\n</tool_call>'
SUM = '<tool_call>\n{"name": "add", "arguments": {"a": 2, "b": true}}\n</tool_call>'


def body(*texts: str, **sent: object) -> dict[str, Any]:
    messages = [{"role": "user", "content": say(*texts)}]
    return {"model": "fake", "messages": messages, "max_tokens": 300, "tools": TOOLS, **sent}


def choice_of(api: ApiServer, prefix: str, *texts: str, **sent: object) -> Any:
    raw = api.post(f"{prefix}/chat/completions", body(*texts, **sent)).json()
    assert "choices" in raw, raw
    return raw["choices"][0]


def called(choice: Any) -> list[tuple[str, Any]]:
    calls = choice["message"].get("tool_calls", [])
    assert all(call["type"] == "function" and call["id"].startswith("call_") for call in calls)
    assert len({call["id"] for call in calls}) == len(calls)
    return [(call["function"]["name"], json.loads(call["function"]["arguments"])) for call in calls]


def refusal(api: ApiServer, prefix: str, **sent: object) -> tuple[int, str, str]:
    answer = api.post(f"{prefix}/chat/completions", body("x", **sent))
    error = answer.json()["error"]
    return answer.status_code, error["param"], error["message"]
