"""Tools: what is allowed is called, what is required must be, and clients read calls as they know them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from openai.types.chat import ChatCompletion

from api_server import DIALECTS, ApiServer, events, say, serving
from crossette.engines import fake
from crossette.engines.fake import FakeEngine, FakeTokenizer
from crossette.text.json_validator import JsonValidator
from crossette.text.structured import mismatches
from crossette.text.tool_calls.families import FORMATS
from crossette.types import FinishReason, TokenOutput
from played_engine import PlayedEngine, TokenTable

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


def body(*said: str, **sent: object) -> dict[str, Any]:
    messages = [{"role": "user", "content": say(*said)}]
    return {"model": "fake", "messages": messages, "max_tokens": 300, "tools": TOOLS, **sent}


def choice_of(api: ApiServer, prefix: str, *said: str, **sent: object) -> Any:
    raw = api.post(f"{prefix}/chat/completions", body(*said, **sent)).json()
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
    engine = FakeEngine(tokenizer=FakeTokenizer(marks=FORMATS[name].markers), tool_format=name)
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
    before, table = mismatches.count, TokenTable()
    with serving(played := PlayedEngine(table)) as api:
        played.play([TokenOutput(0, (*said.encode(), table.end), FinishReason.STOP)])
        answer = api.post(f"{prefix}/chat/completions", body(model="played", **sent))

    assert (answer.status_code, answer.json()["error"]["param"]) == (500, None)
    assert answer.json()["error"]["code"].lower() == "constraint_failed"
    assert mismatches.count == before + 1


# --- as clients read it ---


def test_pieces_of_a_stream_join_to_the_same_calls(api: ApiServer, prefix: str) -> None:
    asked = body(f"So.\n{CALL}\n{SUM}", stream=True)
    deltas = [
        choice["delta"]
        for frame in events(api.post(f"{prefix}/chat/completions", asked).content)
        for choice in frame["choices"]
    ]

    pieces = [piece for delta in deltas for piece in delta.get("tool_calls", [])]
    heads = [piece for piece in pieces if piece.get("id")]
    assert [(head["index"], head["type"], head["function"]["name"]) for head in heads] == [
        (0, "function", "weather"),
        (1, "function", "add"),
    ]
    for index, arguments in enumerate([{"city": "Oslo"}, {"a": 2, "b": True}]):
        told = "".join(piece["function"].get("arguments", "") for piece in pieces if piece["index"] == index)
        assert json.loads(told) == arguments
    assert "".join(delta.get("content") or "" for delta in deltas) == "So."
    assert [delta["role"] for delta in deltas if "role" in delta] == ["assistant"]


def test_each_dialect_has_its_own_pieces(api: ApiServer, prefix: str) -> None:
    frames = events(api.post(f"{prefix}/chat/completions", body(CALL, stream=True)).content)
    deltas = [choice["delta"] for frame in frames for choice in frame["choices"]]
    head, piece, *_ = [delta["tool_calls"][0] for delta in deltas if "tool_calls" in delta]

    if DIALECTS[prefix].name == "openai":
        assert head["function"] == {"name": "weather", "arguments": ""}
        assert piece.keys() == {"index", "function"}
    else:
        assert head["function"] == {"name": "weather"}
        assert (piece["id"], piece["type"]) == (None, "function")
    assert [choice["finish_reason"] for frame in frames for choice in frame["choices"]][-1] == "tool_calls"


def test_the_sdk_reads_calls(api: ApiServer, prefix: str) -> None:
    messages: Any = [{"role": "user", "content": say(CALL)}]
    tools: Any = TOOLS

    answer = api.sdk(prefix).chat.completions.create(model="fake", messages=messages, tools=tools)

    assert isinstance(answer, ChatCompletion)
    (call,) = answer.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert (call.function.name, call.function.arguments) == ("weather", OSLO)


def test_calls_and_results_go_round(api: ApiServer, prefix: str) -> None:
    first = api.post(f"{prefix}/chat/completions", body(CALL)).json()["choices"][0]["message"]
    messages = [
        {"role": "user", "content": "Weather?"},
        first,
        {"role": "tool", "tool_call_id": first["tool_calls"][0]["id"], "content": say("It rains.", "")},
    ]

    choice = choice_of(api, prefix, messages=messages)

    assert (choice["message"]["content"], choice["finish_reason"]) == ("It rains.", "stop")


# --- the older spelling ---


def legacy(*said: str, **sent: object) -> dict[str, Any]:
    asked = body(*said, functions=FUNCTIONS, **sent)
    del asked["tools"]
    return asked


def test_functions_are_answered_in_their_own_shape(api: ApiServer, prefix: str) -> None:
    choice = api.post(f"{prefix}/chat/completions", legacy(CALL)).json()["choices"][0]

    assert choice["message"]["function_call"] == {"name": "weather", "arguments": OSLO}
    assert choice["message"]["content"] is None
    assert "tool_calls" not in choice["message"]
    assert choice["finish_reason"] == "function_call"


def test_functions_are_streamed_in_their_own_shape(api: ApiServer, prefix: str) -> None:
    frames = events(api.post(f"{prefix}/chat/completions", legacy(CALL, stream=True)).content)
    choices = [choice for frame in frames for choice in frame["choices"]]
    pieces = [choice["delta"]["function_call"] for choice in choices if "function_call" in choice["delta"]]

    assert [piece["name"] for piece in pieces if "name" in piece] == ["weather"]
    assert "".join(piece["arguments"] for piece in pieces) == OSLO
    assert choices[-1]["finish_reason"] == "function_call"


@pytest.mark.parametrize(
    ("said", "choice", "name"), [("Words.", {"name": "add"}, "add"), (CALL, "none", None), (CALL, "auto", "weather")]
)
def test_function_call_is_kept_to(api: ApiServer, prefix: str, said: str, choice: object, name: str | None) -> None:
    raw = api.post(f"{prefix}/chat/completions", legacy(said, function_call=choice)).json()

    assert raw["choices"][0]["message"].get("function_call", {}).get("name") == name


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
    with serving(FakeEngine(fake.say("Well."), chat_template=source if listed else fake.CHAT_TEMPLATE)) as api:
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
