"""Tool calls: allowed tools, required tools, and errors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from crossette.testing import fake_engine
from crossette.testing.fake_engine import FakeEngine
from crossette.testing.fake_tokenizer import FakeTokenizer
from crossette.text.schema.validator import JsonValidator
from crossette.text.tool_calls.families import FORMATS
from crossette.types import FinishReason, TokenOutput
from support.api_server import ApiServer, events, serving
from support.played_engine import PlayedEngine, TokenTable
from support.tool_calls import CALL, FUNCTIONS, OSLO, SCHEMAS, SUM, body, called, choice_of, refusal


@pytest.fixture(scope="module")
def chance() -> Iterator[ApiServer]:
    """An engine that samples random tokens among the allowed ones."""
    with serving(FakeEngine()) as server:
        yield server


# --- tool choice ---


def test_a_call_is_separate_from_the_text_before_it(api: ApiServer, prefix: str) -> None:
    choice = choice_of(api, prefix, f"Let me see.\n{CALL}")

    assert choice["message"]["content"] == "Let me see."
    assert called(choice) == [("weather", {"city": "Oslo"})]
    assert choice["finish_reason"] == "tool_calls"


def test_a_message_of_calls_alone_has_no_content(api: ApiServer, prefix: str) -> None:
    choice = choice_of(api, prefix, f"{CALL}\n{SUM}")

    assert choice["message"]["content"] is None
    assert called(choice) == [("weather", {"city": "Oslo"}), ("add", {"a": 2, "b": True})]


def test_auto_allows_text(api: ApiServer, prefix: str) -> None:
    choice = choice_of(api, prefix, "It rains. <b>Take</b> an umbrella.", tool_choice="auto")

    assert (choice["message"]["content"], called(choice)) == ("It rains. <b>Take</b> an umbrella.", [])
    assert choice["finish_reason"] == "stop"


def test_none_forbids_the_opening_of_a_call(api: ApiServer, prefix: str) -> None:
    choice = choice_of(api, prefix, CALL, tool_choice="none")

    assert called(choice) == []
    assert "<tool_call>" not in choice["message"]["content"]
    assert choice["finish_reason"] in ("stop", "length")


@pytest.mark.parametrize(
    ("sent", "allowed"),
    [
        ({"tool_choice": "required"}, {"weather", "add", "now"}),
        ({"tool_choice": "any"}, {"weather", "add", "now"}),
        ({"tool_choice": {"type": "required"}}, {"weather", "add", "now"}),
        ({"tool_choice": {"type": "function", "function": {"name": "add"}}}, {"add"}),
        ({"tool_choice": {"type": "function", "name": "add"}}, {"add"}),
        (
            {
                "tool_choice": {
                    "type": "allowed_tools",
                    "allowed_tools": {
                        "mode": "required",
                        "tools": [
                            {"type": "function", "function": {"name": "add"}},
                            {"type": "function", "function": {"name": "now"}},
                        ],
                    },
                }
            },
            {"add", "now"},
        ),
        (
            {
                "tool_choice": {
                    "type": "allowed_tools",
                    "mode": "required",
                    "tools": [{"type": "function", "name": "now"}],
                }
            },
            {"now"},
        ),
    ],
)
def test_required_tools_are_called_and_no_others(
    api: ApiServer, prefix: str, sent: dict[str, Any], allowed: set[str]
) -> None:
    choice = choice_of(api, prefix, "I would rather talk.", **sent)

    assert choice["message"]["content"] is None
    assert choice["finish_reason"] in ("tool_calls", "length")
    for call in choice["message"]["tool_calls"]:
        assert call["function"]["name"] in allowed


def test_auto_among_allowed_tools_calls_no_other(api: ApiServer, prefix: str) -> None:
    allowed = {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "add"}]}

    assert {name for name, _ in called(choice_of(api, prefix, CALL, tool_choice=allowed))} <= {"add"}
    assert called(choice_of(api, prefix, SUM, tool_choice=allowed)) == [("add", {"a": 2, "b": True})]


@pytest.mark.parametrize("sent", [{"parallel_tool_calls": False}, {"tool_choice": {"type": "function", "name": "add"}}])
def test_an_answer_ends_after_one_call_without_parallel_calls(
    api: ApiServer, prefix: str, sent: dict[str, Any]
) -> None:
    assert called(choice_of(api, prefix, SUM + "\n" + SUM, **sent)) == [("add", {"a": 2, "b": True})]


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_every_family_is_constrained_to_its_own_format(prefix: str, name: str) -> None:
    engine = FakeEngine(tokenizer=FakeTokenizer(extra_specials=FORMATS[name].markers), tool_format=name)
    with serving(engine) as api:
        raw = api.post(f"{prefix}/chat/completions", body(tool_choice="required", n=8, seed=1)).json()

    assert {choice["finish_reason"] for choice in raw["choices"]} <= {"tool_calls", "length"}
    done = [choice for choice in raw["choices"] if choice["finish_reason"] == "tool_calls"]
    assert done
    for choice in done:
        assert choice["message"]["content"] is None
        for tool, arguments in called(choice):
            assert JsonValidator(SCHEMAS[tool]).fault(json.dumps(arguments)) is None


def test_a_call_that_max_tokens_cuts_keeps_its_partial_arguments(api: ApiServer, prefix: str) -> None:
    choice = choice_of(api, prefix, CALL, max_tokens=len(CALL) - len('slo"}}\n</tool_call>'))

    assert choice["finish_reason"] == "length"
    assert choice["message"]["tool_calls"][0]["function"] == {"name": "weather", "arguments": '{"city": "O'}


def fields_of(raw: Any) -> tuple[str, str | None, list[tuple[str, str]]]:
    """Content, finish reason and calls of a complete answer."""
    (choice,) = raw["choices"]
    calls = [call["function"] for call in choice["message"].get("tool_calls") or ()]
    content = choice["message"]["content"]
    return content or "", choice["finish_reason"], [(call["name"], call["arguments"]) for call in calls]


def accumulated(stream: bytes) -> tuple[str, str | None, list[tuple[str, str]]]:
    """The same of a stream, accumulated as clients do."""
    content, reason, calls = "", None, list[tuple[str, str]]()
    for choice in (choice for frame in events(stream) for choice in frame["choices"]):
        content += choice["delta"].get("content") or ""
        reason = choice["finish_reason"] or reason
        for piece in choice["delta"].get("tool_calls") or ():
            if piece["index"] == len(calls):
                calls.append((piece["function"]["name"], ""))
            name, arguments = calls[piece["index"]]
            calls[piece["index"]] = (name, arguments + piece["function"].get("arguments", ""))
    return content, reason, calls


@pytest.mark.slow
@pytest.mark.parametrize("sent", [{"tool_choice": "required"}, {"tool_choice": "auto"}], ids=["required", "auto"])
def test_calls_that_max_tokens_cuts_anywhere_leave_no_markup(api: ApiServer, prefix: str, sent: dict[str, Any]) -> None:
    output = f"{CALL}\n{SUM}"
    for length in range(1, len(output), 3):
        request = body(output, max_tokens=length, **sent)
        raw = api.post(f"{prefix}/chat/completions", request).json()
        content, reason, calls = fields_of(raw)

        assert accumulated(api.post(f"{prefix}/chat/completions", {**request, "stream": True}).content) == (
            content,
            reason,
            calls,
        )
        is_a_word = sent["tool_choice"] == "auto" and length < len("<tool_call>")
        assert (content, reason) == (output[:length] if is_a_word else "", "length")
        assert raw["choices"][0]["message"]["content"] == (content or None)
        assert [name for name, _ in calls] == ["weather", "add"][: len(calls)]


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_a_named_call_that_is_cut_leaves_no_markup_in_any_format(prefix: str, name: str) -> None:
    tokenizer = FakeTokenizer(extra_specials=FORMATS[name].markers)
    tokens = tokenizer.encode(FORMATS[name].render([("weather", OSLO)]).replace("'", '"'), specials=True)
    sent = {"tool_choice": {"type": "function", "function": {"name": "weather"}}}
    with serving(FakeEngine(lambda request, index: iter(tokens), tokenizer=tokenizer, tool_format=name)) as api:
        for length in range(1, len(tokens), 4):
            request = body(max_tokens=length, **sent)
            raw = api.post(f"{prefix}/chat/completions", request).json()

            assert accumulated(
                api.post(f"{prefix}/chat/completions", {**request, "stream": True}).content
            ) == fields_of(raw)
            assert raw["choices"][0]["message"]["content"] is None
            assert raw["choices"][0]["finish_reason"] == "length"


def test_a_required_call_that_a_stop_token_ends_is_the_requests_error(api: ApiServer, prefix: str) -> None:
    before = api.observed.count()
    request = body(CALL, tool_choice="required", stop_token_ids=[ord("n")])

    answer = api.post(f"{prefix}/chat/completions", request)

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "stop_token_ids")
    assert api.observed.mismatches(before + 1) == 0


def test_text_that_only_resembles_a_call_is_content(prefix: str) -> None:
    """With an engine that ignores the grammar, no output may be lost."""
    table = TokenTable()
    output = '<tool_call>{"name": "weather", "arguments": nothing}</tool_call> indeed'
    with serving(played := PlayedEngine(table)) as api:
        played.play([TokenOutput(0, (*output.encode(), table.end), FinishReason.STOP)])
        choice = choice_of(api, prefix, model="played")

    assert (choice["message"]["content"], called(choice)) == (output, [])


@pytest.mark.parametrize(
    ("output", "sent"),
    [
        ("Just words.", {"tool_choice": "required"}),
        (CALL, {"tool_choice": "none"}),
        (CALL, {"tool_choice": {"type": "function", "name": "add"}}),
        (f"{SUM}\n{SUM}", {"parallel_tool_calls": False}),
        (SUM.replace("2", "200"), {}),
        (SUM.replace('"a"', '"x"'), {}),
    ],
)
def test_an_answer_that_violates_the_tool_choice_is_a_counted_error(
    prefix: str, output: str, sent: dict[str, Any]
) -> None:
    table = TokenTable()
    with serving(played := PlayedEngine(table)) as api:
        played.play([TokenOutput(0, (*output.encode(), table.end), FinishReason.STOP)])
        answer = api.post(f"{prefix}/chat/completions", body(model="played", **sent))
        assert api.observed.mismatches(1) == 1

    assert (answer.status_code, answer.json()["error"]["param"]) == (500, None)
    assert answer.json()["error"]["code"].lower() == "constraint_failed"


# --- with other fields ---


def test_stop_strings_apply_to_content_only(api: ApiServer, prefix: str) -> None:
    choice = choice_of(api, prefix, f"See: {CALL}", stop=["Oslo", "}", "<tool"])

    assert choice["message"]["content"] == "See:"
    assert called(choice) == [("weather", {"city": "Oslo"})]
    stopped = choice_of(api, prefix, f"One. Two. {CALL}", stop=["Two"], include_stop_str_in_output=False)
    assert (stopped["message"]["content"], called(stopped)) == ("One. ", [])


def test_each_choice_has_its_own_calls(api: ApiServer, prefix: str) -> None:
    raw = api.post(f"{prefix}/chat/completions", body(CALL, "Words.", SUM, n=3, logprobs=True)).json()

    assert [called(choice) for choice in raw["choices"]] == [
        [("weather", {"city": "Oslo"})],
        [],
        [("add", {"a": 2, "b": True})],
    ]
    assert all(choice["logprobs"]["content"] for choice in raw["choices"])


def test_raw_output_has_the_call_as_the_model_wrote_it(api: ApiServer, prefix: str) -> None:
    assert choice_of(api, prefix, CALL, raw_output=True)["raw_output"]["completion"] == CALL


def test_a_response_format_constrains_content_and_not_calls(api: ApiServer, prefix: str) -> None:
    schema = {"type": "json_schema", "json_schema": {"type": "object", "properties": {"n": {"type": "integer"}}}}
    fields = {"response_format": schema}

    assert choice_of(api, prefix, '{"n": 4}', **fields)["message"]["content"] == '{"n": 4}'
    assert called(choice_of(api, prefix, CALL, **fields)) == [("weather", {"city": "Oslo"})]
    assert called(choice_of(api, prefix, CALL, **fields, tool_choice="required")) == [("weather", {"city": "Oslo"})]
    none = choice_of(api, prefix, CALL, **fields, tool_choice="none", max_tokens=60)
    assert none["message"]["content"].startswith("{")
    assert called(none) == []


def test_guided_choice_can_be_combined_with_tools(api: ApiServer, prefix: str) -> None:
    assert choice_of(api, prefix, "no/yes", guided_choice=["a", "no/yes"])["message"]["content"] == "no/yes"
    assert called(choice_of(api, prefix, CALL, guided_choice=["a", "no/yes"])) == [("weather", {"city": "Oslo"})]


@pytest.mark.slow
def test_tools_are_in_the_prompt(prefix: str) -> None:
    prompts: list[str] = []

    def listen(request: Any, index: int) -> bytes:
        prompts.append(bytes(token for token in request.prompt if token < 256).decode())
        return b"Well."

    with serving(FakeEngine(listen)) as api:
        choice_of(api, prefix, "x")
        choice_of(api, prefix, "x", tools=[])

    assert "The weather of a city" in prompts[0]
    assert '<tool_call>\n{"name": "function-name"' in prompts[0]
    assert "function" not in prompts[1]


@pytest.mark.parametrize("listed", [True, False])
def test_special_tokens_in_a_description_stay_text_or_are_rejected(prefix: str, listed: bool) -> None:
    tools = [{"type": "function", "function": {"name": "f", "description": "<|im_end|>"}}]
    source = "{{ tools | tojson if tools else '' }}<tool_call>{{ messages[-1]['content'] }}"
    with serving(
        FakeEngine(fake_engine.say("Well."), chat_template=source if listed else fake_engine.CHAT_TEMPLATE)
    ) as api:
        answer = api.post(f"{prefix}/chat/completions", body("x", tools=tools))
        unsafe = api.post(f"{prefix}/chat/completions", body("x", tools=tools, safe_tokenization=False))

    assert answer.status_code == (400 if listed else 200)
    assert unsafe.status_code == 200
    if listed:
        assert answer.json()["error"]["param"] == "tools"


# --- errors ---


def tool(**function: object) -> list[dict[str, Any]]:
    return [{"type": "function", "function": {"name": "f", **function}}]


@pytest.mark.parametrize(
    ("sent", "param", "text"),
    [
        ({"tool_choice": {"type": "function", "name": "other"}}, "tool_choice", "other"),
        ({"tool_choice": "sometimes"}, "tool_choice", "sometimes"),
        ({"tool_choice": {"type": "function"}}, "tool_choice.function", "required"),
        ({"tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": []}}, "tool_choice.tools", "empty"),
        ({"tool_choice": "required", "tools": []}, "tool_choice", "no tools"),
        ({"tools": [*tool(), *tool()]}, "tools[1].function.name", "'f'"),
        ({"functions": FUNCTIONS * 2, "tools": None}, "functions[3].name", "two functions"),
        ({"tool_choice": {"type": "custom", "custom": {"name": "f"}}}, "tool_choice.custom", "Extra inputs"),
        ({"tool_choice": {"type": "web_search"}}, "tool_choice.type", "'web_search'"),
        ({"tool_choice": {"type": "function"}}, "tool_choice.function", "required"),
        ({"tool_choice": {"type": 1}}, "tool_choice.type", "string"),
        (
            {"tool_choice": {"type": "allowed_tools", "tools": [{"type": "mcp", "name": "f"}]}},
            "tool_choice.tools[0].type",
            "'mcp'",
        ),
        ({"tools": tool(name="a b")}, "tools[0].function.name", "a b"),
        ({"tools": tool(name="")}, "tools[0].function.name", "letters"),
        ({"tools": [{"type": "custom", "custom": {}}]}, "tools[0].type", "custom"),
        ({"tools": [{"type": "function"}]}, "tools[0].function", "required"),
        ({"functions": FUNCTIONS}, "functions", "tools"),
        ({"tools": None, "function_call": {"name": "f"}}, "function_call", "functions"),
        (
            {"tools": tool(parameters={"type": "object", "unevaluatedItems": False}, strict=True)},
            "tools[0].function.parameters",
            "'f', tools[0].function.parameters: 'unevaluatedItems' at '/unevaluatedItems'",
        ),
        ({"tools": tool(parameters={"type": "object", "minimum": "x"})}, "tools[0].function.parameters", "minimum"),
        ({"guided_grammar": 'start: "x"'}, "guided_grammar", "tools"),
    ],
)
def test_invalid_tool_fields_are_rejected_by_name(
    api: ApiServer, prefix: str, sent: dict[str, Any], param: str, text: str
) -> None:
    status, at, message = refusal(api, prefix, **sent)

    assert (status, at) == (400, param)
    assert text in message
