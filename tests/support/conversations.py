"""Chat messages, sent to a server, and the prompts rendered from them."""

from __future__ import annotations

from typing import Any

import httpx

from crossette.testing.fake_engine import FakeEngine
from support.api_server import ApiServer, serving


def user(content: object) -> dict[str, object]:
    return {"role": "user", "content": content}


def assistant(content: object = None, **fields: object) -> dict[str, object]:
    return {"role": "assistant", "content": content, **fields}


def calling(*arguments: object, **fields: object) -> dict[str, object]:
    """A message that calls f, with ids c0, c1…"""
    calls = [
        {"id": f"c{index}", "type": "function", "function": {"name": "f", "arguments": given}}
        for index, given in enumerate(arguments)
    ]
    return assistant(tool_calls=calls, **fields)


def result(content: object = "R", call_id: str = "c0") -> dict[str, object]:
    return {"role": "tool", "tool_call_id": call_id, "content": content}


def post(api: ApiServer, prefix: str, *messages: object, **fields: object) -> httpx.Response:
    body = {"model": "fake", "messages": list(messages) or [user("Hi")], "max_tokens": 8, **fields}
    return api.post(f"{prefix}/chat/completions", body)


def ask(api: ApiServer, prefix: str, *messages: object, **fields: object) -> Any:
    answer = post(api, prefix, *messages, **fields)
    assert answer.status_code == 200, answer.text
    return answer.json()


def prompt_of(*messages: object, template: str | None = None, **fields: object) -> str:
    """The prompt that the model gets for these messages."""
    seen: list[tuple[int, ...]] = []

    def note(request: Any, index: int) -> bytes:
        seen.append(request.prompt)
        return b"ok"

    with serving(FakeEngine(note, chat_template=template) if template else FakeEngine(note)) as api:
        ask(api, "/v1", *messages, **fields)
    return "".join(chr(token) if token < 256 else f"<{token}>" for token in seen[0])


def refusal(api: ApiServer, prefix: str, *messages: object, **fields: object) -> tuple[int, str | None, str]:
    answer = post(api, prefix, *messages, **fields)
    assert "error" in answer.json(), answer.text
    return answer.status_code, answer.json()["error"]["param"], answer.json()["error"]["message"]
