"""POST /responses: what is understood of a request, and what a response has."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from crossette.testing.fake_engine import FakeEngine
from crossette.testing.fake_tokenizer import FakeTokenizer
from crossette.types import GenerationRequest
from support.api_server import ApiServer, parrot, say, serving, strictly
from support.response_events import accumulated, response_events, without_ids

TEMPLATE = (
    "{% for m in messages %}[{{ m['role'] }}:{% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>"
    "{% endif %}{{ m['content'] }}"
    "{% for c in m.tool_calls or [] %}({{ c.id }} {{ c.function.name }}){% endfor %}]{% endfor %}[assistant:"
    "{% if enable_thinking is defined and not enable_thinking %}<think></think>{% endif %}"
)
CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>'
ADD = {
    "type": "function",
    "name": "add",
    "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
}
Ask = Callable[..., Any]


class Thinker:
    """An engine that reasons, and records its prompts."""

    def __init__(self, output: str) -> None:
        self.prompts: list[str] = []
        self._tokenizer = FakeTokenizer(extra_specials=("<think>", "</think>"))
        self._output = self._tokenizer.encode(output, specials=True)
        self.engine = FakeEngine(self._say, tokenizer=self._tokenizer, chat_template=TEMPLATE)

    def _say(self, request: GenerationRequest, index: int) -> list[int]:
        self.prompts.append(b"".join(map(self._tokenizer.token_text, request.prompt)).decode())
        return self._output


@pytest.fixture(scope="module")
def api() -> Iterator[ApiServer]:
    with serving() as server:
        yield server


@pytest.fixture
def ask(api: ApiServer, prefix: str) -> Ask:
    """Both forms of an answer, which must be the same."""
    return lambda **sent: asked(api, prefix, **sent)


def asked(api: ApiServer, prefix: str, **sent: Any) -> Any:
    """The response to a request. Its stream must tell the same."""
    body = {"model": "fake", **sent}
    whole = api.post(f"{prefix}/responses", body)
    assert whole.status_code == 200, whole.text
    streamed = api.post(f"{prefix}/responses", {**body, "stream": True})
    events = response_events(streamed.content)
    if events[-1]["response"]["incomplete_details"] != {"reason": "max_tool_calls"}:  # which only Fireworks has
        for event in events:
            TypeAdapter[Any](ResponseStreamEvent).validate_python(event)
    told, raw = without_ids(accumulated(events)), whole.json()
    usage = told.pop("usage"), without_ids(raw).pop("usage")
    assert usage[0]["total_tokens"] == usage[1]["total_tokens"]
    assert told == {key: value for key, value in without_ids(raw).items() if key != "usage"}
    assert whole.headers["x-request-id"] == raw["id"]
    return raw


def refusal(api: ApiServer, prefix: str, **sent: Any) -> tuple[int, str | None, str]:
    answer = api.post(f"{prefix}/responses", {"model": "fake", "input": "Hi", **sent})
    error = answer.json()["error"]
    return answer.status_code, error["param"], error["message"]


# --- the response ---


def test_a_response_has_all_fields_of_openais_type(ask: Ask, prefix: str) -> None:
    raw = ask(input=say("Hello"))

    extra = strictly(Response, {**raw, "created_at": float(raw["created_at"]), "completed_at": 1.0})
    ours = {"presence_penalty", "frequency_penalty", "store"}
    assert extra - ours == (set() if prefix == "/v1" else {"usage.prompt_tokens", "usage.completion_tokens"})
    assert raw["output"] == [
        {
            "type": "message",
            "id": raw["id"].replace("resp_", "msg_") + "_0",
            "status": "completed",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "Hello", "annotations": [], "logprobs": []}],
        }
    ]
    assert (raw["object"], raw["status"], raw["store"]) == ("response", "completed", False)
    assert raw["completed_at"] >= raw["created_at"]


def test_a_response_repeats_its_request_as_it_was_applied(ask: Ask) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    raw = ask(
        input=say('{"a": 1}'),
        instructions="Be brief.",
        max_output_tokens=50,
        temperature=0.5,
        metadata={"k": "v"},
        user="u",
        text={"format": {"type": "json_schema", "name": "n", "schema": schema}},
        tools=[ADD, {**ADD, "name": "other", "strict": True, "description": "d", "parameters": None}],
        tool_choice={"type": "function", "name": "add"} and "none",
        service_tier="fast",
        truncation="auto",
        parallel_tool_calls=False,
    )

    assert (raw["instructions"], raw["max_output_tokens"], raw["temperature"]) == ("Be brief.", 50, 0.5)
    assert (raw["metadata"], raw["user"], raw["service_tier"]) == ({"k": "v"}, "u", "priority")
    assert raw["text"]["format"]["strict"] is False
    assert [tool["strict"] for tool in raw["tools"]] == [False, True]
    assert (raw["tool_choice"], raw["truncation"], raw["parallel_tool_calls"]) == ("none", "auto", False)
    assert json.loads(raw["output"][0]["content"][0]["text"]) == {"a": 1}


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        ("any", "required"),
        ({"type": "function", "name": "add"}, {"type": "function", "name": "add"}),
        (
            {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "add"}]},
            {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "add"}]},
        ),
    ],
)
def test_a_tool_choice_is_enforced_and_repeated(ask: Ask, sent: Any, told: Any) -> None:
    raw = ask(input=say(CALL), tools=[ADD, {**ADD, "name": "other"}], tool_choice=sent)

    assert raw["tool_choice"] == told
    (call,) = raw["output"]
    assert (call["type"], call["name"], json.loads(call["arguments"])) == ("function_call", "add", {"a": 1})
    assert call["id"] == raw["id"].replace("resp_", "fc_") + "_0"


def test_text_and_calls_are_items_in_order(ask: Ask) -> None:
    raw = ask(input=say(f"First.\n{CALL}\n{CALL}"), tools=[ADD])

    assert [item["type"] for item in raw["output"]] == ["message", "function_call", "function_call"]
    assert raw["output"][0]["content"][0]["text"] == "First."
    assert len({item.get("call_id") for item in raw["output"]}) == 3


def test_another_call_than_allowed_ends_the_response(api: ApiServer, ask: Ask) -> None:
    raw = ask(input=say(f"{CALL}\n{CALL}\n{CALL}"), tools=[ADD], max_tool_calls=2)

    assert [item["status"] for item in raw["output"]] == ["completed", "completed"]
    assert (raw["status"], raw["incomplete_details"]) == ("incomplete", {"reason": "max_tool_calls"})
    assert ask(input=say(f"{CALL}\n{CALL}"), tools=[ADD], max_tool_calls=2)["status"] == "completed"
    api.wait_until_idle()


def test_max_output_tokens_makes_a_response_incomplete(ask: Ask) -> None:
    raw = ask(input=say("Hello"), max_output_tokens=3)

    assert (raw["status"], raw["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert (raw["output"][0]["status"], raw["output"][0]["content"][0]["text"]) == ("incomplete", "Hel")
    assert (raw["completed_at"], raw["usage"]["output_tokens"]) == (None, 3)


def test_an_empty_answer_is_an_empty_message(ask: Ask) -> None:
    assert [item["content"][0]["text"] for item in ask(input=say(""))["output"]] == [""]


def test_logprobs_are_those_of_the_text(ask: Ask, api: ApiServer, prefix: str) -> None:
    raw = ask(input=say(f"Hé.\n{CALL}"), tools=[ADD], include=["message.output_text.logprobs"], top_logprobs=2)

    records = raw["output"][0]["content"][0]["logprobs"]
    assert b"".join(bytes(record["bytes"]) for record in records).decode() == "Hé."
    assert {len(record["top_logprobs"]) for record in records} == {2}
    assert ask(input=say("a"), top_logprobs=1)["output"][0]["content"][0]["logprobs"]


def test_usage_has_the_names_of_its_dialect(ask: Ask, prefix: str) -> None:
    usage = ask(input=say("Hello"))["usage"]

    total = usage["input_tokens"] + usage["output_tokens"]
    assert (usage["output_tokens"], usage["total_tokens"]) == (5, total)
    details = usage["input_tokens_details"]
    assert details["cached_tokens"] + details["cache_write_tokens"] == usage["input_tokens"]
    both = {"prompt_tokens": usage["input_tokens"], "completion_tokens": 5} if prefix != "/v1" else {}
    assert {key: usage[key] for key in usage if key in ("prompt_tokens", "completion_tokens")} == both


# --- reasoning ---

THOUGHT = "<think>Two.</think>Four."


def test_reasoning_is_an_item_before_the_message(prefix: str) -> None:
    with serving(Thinker(THOUGHT).engine) as api:
        reasoning, message = asked(api, prefix, input="2+2?")["output"]

    assert reasoning["content"] == [{"type": "reasoning_text", "text": "Two."}]
    assert (reasoning["summary"], reasoning["status"]) == ([], "completed")
    assert message["content"][0]["text"] == "Four."


@pytest.mark.parametrize("name", ["summary", "generate_summary"])
def test_reasoning_is_its_own_summary_on_request(prefix: str, name: str) -> None:
    with serving(Thinker(THOUGHT).engine) as api:
        raw = asked(api, prefix, input="2+2?", reasoning={name: "auto"})

    assert raw["output"][0]["summary"] == [{"type": "summary_text", "text": "Two."}]
    assert "content" not in raw["output"][0]
    assert raw["reasoning"] == {"effort": None, "summary": "auto"}


def test_reasoning_can_be_left_out(prefix: str) -> None:
    with serving(Thinker(THOUGHT).engine) as api:
        raw = asked(api, prefix, input="2+2?", include_reasoning=False)

    assert [item["type"] for item in raw["output"]] == ["message"]
    assert raw["usage"]["output_tokens_details"]["reasoning_tokens"] > 0


def test_reasoning_that_is_cut_is_incomplete(prefix: str) -> None:
    with serving(Thinker(THOUGHT).engine) as api:
        raw = asked(api, prefix, input="2+2?", max_output_tokens=3)

    assert [(item["type"], item["status"]) for item in raw["output"]] == [("reasoning", "incomplete")]


@pytest.mark.parametrize("include", [[], ["reasoning.encrypted_content"]])
@pytest.mark.parametrize("keys", [("content",), ("encrypted_content",), ("summary", "encrypted_content")])
def test_output_items_can_be_sent_back(prefix: str, include: list[str], keys: tuple[str, ...]) -> None:
    """The model gets its reasoning again, from whichever part of the item a client keeps."""
    thinker = Thinker(f"<think>Two.</think>Sure.\n{CALL}")
    with serving(thinker.engine) as api:
        sent: dict[str, Any] = {"tools": [ADD], "include": include}
        first = {"role": "user", "content": "2+2?"}
        raw = asked(api, prefix, input=[first], **sent)
        reasoning, message, call = raw["output"]
        kept = {key: reasoning[key] for key in ("type", "id", *keys) if key in reasoning}
        output = {"type": "function_call_output", "call_id": call["call_id"], "output": "4"}
        asked(api, prefix, input=[first, kept, message, call, output], **sent)

    thought = "<think>Two.</think>" if include or keys == ("content",) else ""
    spoken = f"[user:2+2?][assistant:{thought}Sure.({call['call_id']} add)]"
    assert thinker.prompts[-1].endswith(f"{spoken}[tool:4][assistant:")
    assert ("encrypted_content" in reasoning) == bool(include)


def test_reasoning_of_another_service_is_dropped(prefix: str) -> None:
    thinker = Thinker("Hi")
    with serving(thinker.engine) as api:
        for sealed in ("gAAAAABo", "", "bm90IG91cnM=", "é"):
            items = [
                {"type": "reasoning", "summary": [], "encrypted_content": sealed},
                {"role": "user", "content": "a"},
            ]
            asked(api, prefix, input=items)
            assert thinker.prompts[-1] == "[user:a][assistant:"


# --- the input ---


def prompt_of(prefix: str, **sent: Any) -> str:
    thinker = Thinker("Hi")
    with serving(thinker.engine) as api:
        asked(api, prefix, **sent)
    return thinker.prompts[-1]


def test_system_messages_at_the_start_are_one(prefix: str) -> None:
    items = [
        {"role": "developer", "content": "b"},
        {"type": "message", "role": "system", "content": [{"type": "input_text", "text": "c"}]},
        {"role": "user", "content": "d"},
        {"role": "developer", "content": "e"},
    ]

    assert prompt_of(prefix, input=items, instructions="a") == "[system:a\n\nb\n\nc][user:d][system:e][assistant:"
    assert prompt_of(prefix, input=items[1:]) == "[system:c][user:d][system:e][assistant:"


def test_messages_of_the_assistant_stay_apart(prefix: str) -> None:
    call = {"type": "function_call", "call_id": "x", "name": "f", "arguments": "{}"}
    items = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": [{"type": "output_text", "text": "b", "annotations": []}]},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "c"}]},
        call,
        {**call, "call_id": "y"},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "why"}]},
        {"role": "assistant", "content": "d"},
    ]

    expected = "[user:a][assistant:b][assistant:c(x f)(y f)][assistant:<think>why</think>d][assistant:"
    assert prompt_of(prefix, input=items) == expected


def test_an_input_that_is_too_long_is_rejected_or_loses_its_oldest_turns(prefix: str) -> None:
    items = [
        {"role": role, "content": f"{role} {turn} " + "x" * 40} for turn in "123" for role in ("user", "assistant")
    ]
    items.append({"role": "user", "content": say("Hello")})
    with serving(FakeEngine(parrot, context_length=256)) as api:
        assert refusal(api, prefix, input=items)[:2] == (400, "input")
        raw = asked(api, prefix, input=items, truncation="auto", max_output_tokens=8)
        assert raw["output"][0]["content"][0]["text"] == "Hello"
        assert raw["usage"]["input_tokens"] <= 248
        assert refusal(api, prefix, input="x" * 300, truncation="auto")[:2] == (400, "input")


def test_what_is_only_checked_is_named_by_its_path_here(api: ApiServer, prefix: str) -> None:
    schema = {"type": "array", "items": {"type": "integer"}, "uniqueItems": True}
    tool = {**ADD, "parameters": {"type": "object", "properties": {"a": schema}}}
    sent = {"model": "fake", "input": say("[1]"), "tools": [{**ADD, "name": "other"}, tool]}
    text = {"format": {"type": "json_schema", "name": "n", "schema": schema}}

    answer = api.post(f"{prefix}/responses", {**sent, "text": text})
    checked = answer.headers["x-crossette-checked"]
    assert checked == "text.format.schema/uniqueItems, tools[1].parameters/properties/a/uniqueItems"
