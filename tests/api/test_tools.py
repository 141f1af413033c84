"""Tools: what is allowed is called, and what is required must be."""

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
    """An engine that says tokens by chance, of those that are allowed."""
    with serving(FakeEngine()) as server:
        yield server


# --- what is called ---


def test_a_call_is_told_apart_from_the_words_before_it(api: ApiServer, prefix: str) -> None:
    choice = choice_of(api, prefix, f"Let me see.\n{CALL}")

    assert choice["message"]["content"] == "Let me see."
    assert called(choice) == [("weather", {"city": "Oslo"})]
    assert choice["finish_reason"] == "tool_calls"


def test_a_message_of_calls_alone_has_no_content(api: ApiServer, prefix: str) -> None:
    choice = choice_of(api, prefix, f"{CALL}\n{SUM}")

    assert choice["message"]["content"] is None
    assert called(choice) == [("weather", {"city": "Oslo"}), ("add", {"a": 2, "b": True})]


def test_auto_leaves_the_model_its_words(api: ApiServer, prefix: str) -> None:
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
def test_what_is_required_is_called_and_nothing_else(
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
def test_one_call_is_the_last_where_several_are_not_asked_for(
    api: ApiServer, prefix: str, sent: dict[str, Any]
) -> None:
    assert called(choice_of(api, prefix, SUM + "\n" + SUM, **sent)) == [("add", {"a": 2, "b": True})]


@pytest.mark.parametrize("name", FORMATS)
def test_every_family_is_held_to_its_own_format(prefix: str, name: str) -> None:
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


def test_a_call_that_max_tokens_cuts_keeps_what_was_said_of_it(api: ApiServer, prefix: str) -> None:
    choice = choice_of(api, prefix, CALL, max_tokens=len(CALL) - len('slo"}}\n</tool_call>'))

    assert choice["finish_reason"] == "length"
    assert choice["message"]["tool_calls"][0]["function"] == {"name": "weather", "arguments": '{"city": "O'}


def told_of(raw: Any) -> tuple[str, str | None, list[tuple[str, str]]]:
    """Content, finish reason and calls of a whole answer."""
    (choice,) = raw["choices"]
    calls = [call["function"] for call in choice["message"].get("tool_calls") or ()]
    content = choice["message"]["content"]
    return content or "", choice["finish_reason"], [(call["name"], call["arguments"]) for call in calls]


def folded(stream: bytes) -> tuple[str, str | None, list[tuple[str, str]]]:
    """The same of a stream, put together as clients do."""
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


@pytest.mark.parametrize("sent", [{"tool_choice": "required"}, {"tool_choice": "auto"}], ids=["required", "auto"])
def test_calls_that_max_tokens_cuts_anywhere_leave_no_markup(api: ApiServer, prefix: str, sent: dict[str, Any]) -> None:
    said = f"{CALL}\n{SUM}"
    for length in range(1, len(said), 3):
        asked = body(said, max_tokens=length, **sent)
        raw = api.post(f"{prefix}/chat/completions", asked).json()
        content, reason, calls = told_of(raw)

        assert folded(api.post(f"{prefix}/chat/completions", {**asked, "stream": True}).content) == (
            content,
            reason,
            calls,
        )
        is_a_word = sent["tool_choice"] == "auto" and length < len("<tool_call>")
        assert (content, reason) == (said[:length] if is_a_word else "", "length")
        assert raw["choices"][0]["message"]["content"] == (content or None)
        assert [name for name, _ in calls] == ["weather", "add"][: len(calls)]


@pytest.mark.parametrize("name", FORMATS)
def test_a_named_call_that_is_cut_leaves_no_markup_in_any_format(prefix: str, name: str) -> None:
    tokenizer = FakeTokenizer(extra_specials=FORMATS[name].markers)
    tokens = tokenizer.encode(FORMATS[name].render([("weather", OSLO)]).replace("'", '"'), specials=True)
    sent = {"tool_choice": {"type": "function", "function": {"name": "weather"}}}
    with serving(FakeEngine(lambda request, index: iter(tokens), tokenizer=tokenizer, tool_format=name)) as api:
        for length in range(1, len(tokens), 4):
            asked = body(max_tokens=length, **sent)
            raw = api.post(f"{prefix}/chat/completions", asked).json()

            assert folded(api.post(f"{prefix}/chat/completions", {**asked, "stream": True}).content) == told_of(raw)
            assert raw["choices"][0]["message"]["content"] is None
            assert raw["choices"][0]["finish_reason"] == "length"


def test_a_required_call_that_the_requests_own_token_stops_is_the_requests_error(api: ApiServer, prefix: str) -> None:
    before = len(api.told.records)
    asked = body(CALL, tool_choice="required", stop_token_ids=[ord("n")])

    answer = api.post(f"{prefix}/chat/completions", asked)

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "stop_token_ids")
    assert api.told.mismatches(before + 1) == 0


def test_what_only_looks_like_a_call_comes_back_as_content(prefix: str) -> None:
    """An engine that kept to no grammar: nothing that it says may vanish."""
    table = TokenTable()
    said = '<tool_call>{"name": "weather", "arguments": nothing}</tool_call> indeed'
    with serving(played := PlayedEngine(table)) as api:
        played.play([TokenOutput(0, (*said.encode(), table.end), FinishReason.STOP)])
        choice = choice_of(api, prefix, model="played")

    assert (choice["message"]["content"], called(choice)) == (said, [])


@pytest.mark.parametrize(
    ("said", "sent"),
    [
        ("Just words.", {"tool_choice": "required"}),
        (CALL, {"tool_choice": "none"}),
        (CALL, {"tool_choice": {"type": "function", "name": "add"}}),
        (f"{SUM}\n{SUM}", {"parallel_tool_calls": False}),
        (SUM.replace("2", "200"), {}),
        (SUM.replace('"a"', '"x"'), {}),
    ],
)
def test_an_answer_that_broke_the_choice_is_an_error_and_is_counted(
    prefix: str, said: str, sent: dict[str, Any]
) -> None:
    table = TokenTable()
    with serving(played := PlayedEngine(table)) as api:
        played.play([TokenOutput(0, (*said.encode(), table.end), FinishReason.STOP)])
        answer = api.post(f"{prefix}/chat/completions", body(model="played", **sent))
        assert api.told.mismatches(1) == 1

    assert (answer.status_code, answer.json()["error"]["param"]) == (500, None)
    assert answer.json()["error"]["code"].lower() == "constraint_failed"


# --- beside other fields ---


def test_stop_strings_are_looked_for_in_content_alone(api: ApiServer, prefix: str) -> None:
    choice = choice_of(api, prefix, f"See: {CALL}", stop=["Oslo", "}", "<tool"])

    assert choice["message"]["content"] == "See:"
    assert called(choice) == [("weather", {"city": "Oslo"})]
    stopped = choice_of(api, prefix, f"One. Two. {CALL}", stop=["Two"], include_stop_str_in_output=False)
    assert (stopped["message"]["content"], called(stopped)) == ("One. ", [])


def test_choices_have_calls_of_their_own(api: ApiServer, prefix: str) -> None:
    raw = api.post(f"{prefix}/chat/completions", body(CALL, "Words.", SUM, n=3, logprobs=True)).json()

    assert [called(choice) for choice in raw["choices"]] == [
        [("weather", {"city": "Oslo"})],
        [],
        [("add", {"a": 2, "b": True})],
    ]
    assert all(choice["logprobs"]["content"] for choice in raw["choices"])


def test_raw_output_has_the_call_as_the_model_wrote_it(api: ApiServer, prefix: str) -> None:
    assert choice_of(api, prefix, CALL, raw_output=True)["raw_output"]["completion"] == CALL


def test_a_form_holds_content_and_calls_stand_beside_it(api: ApiServer, prefix: str) -> None:
    schema = {"type": "json_schema", "json_schema": {"type": "object", "properties": {"n": {"type": "integer"}}}}
    form = {"response_format": schema}

    assert choice_of(api, prefix, '{"n": 4}', **form)["message"]["content"] == '{"n": 4}'
    assert called(choice_of(api, prefix, CALL, **form)) == [("weather", {"city": "Oslo"})]
    assert called(choice_of(api, prefix, CALL, **form, tool_choice="required")) == [("weather", {"city": "Oslo"})]
    none = choice_of(api, prefix, CALL, **form, tool_choice="none", max_tokens=60)
    assert none["message"]["content"].startswith("{")
    assert called(none) == []


def test_choices_of_texts_stand_beside_calls(api: ApiServer, prefix: str) -> None:
    assert choice_of(api, prefix, "no/yes", guided_choice=["a", "no/yes"])["message"]["content"] == "no/yes"
    assert called(choice_of(api, prefix, CALL, guided_choice=["a", "no/yes"])) == [("weather", {"city": "Oslo"})]


def test_tools_are_shown_to_the_model(prefix: str) -> None:
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
def test_control_tokens_in_a_description_stay_words_or_are_refused(prefix: str, listed: bool) -> None:
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


# --- what is refused ---


def tool(**function: object) -> list[dict[str, Any]]:
    return [{"type": "function", "function": {"name": "f", **function}}]


@pytest.mark.parametrize(
    ("sent", "param", "words"),
    [
        ({"tool_choice": {"type": "function", "name": "other"}}, "tool_choice", "other"),
        ({"tool_choice": "sometimes"}, "tool_choice", "sometimes"),
        ({"tool_choice": {"type": "function"}}, "tool_choice.function", "required"),
        ({"tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": []}}, "tool_choice.tools", "empty"),
        ({"tool_choice": "required", "tools": []}, "tool_choice", "no tools"),
        ({"tools": [*tool(), *tool()]}, "tools", "'f'"),
        ({"tools": tool(name="a b")}, "tools[0].function.name", "a b"),
        ({"tools": tool(name="")}, "tools[0].function.name", "letters"),
        ({"tools": [{"type": "custom", "custom": {}}]}, "tools[0].type", "custom"),
        ({"tools": [{"type": "function"}]}, "tools[0].function", "required"),
        ({"functions": FUNCTIONS}, "functions", "tools"),
        ({"tools": None, "function_call": {"name": "f"}}, "function_call", "functions"),
        ({"tools": tool(parameters={"type": "object", "not": {}})}, "tools[0].function.parameters", "/not"),
        ({"tools": tool(parameters={"type": "object", "minimum": "x"})}, "tools[0].function.parameters", "minimum"),
        ({"guided_grammar": 'start: "x"'}, "guided_grammar", "tools"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(
    api: ApiServer, prefix: str, sent: dict[str, Any], param: str, words: str
) -> None:
    status, at, message = refusal(api, prefix, **sent)

    assert (status, at) == (400, param)
    assert words in message
