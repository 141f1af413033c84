"""Structured output: every notation, both dialects, both endpoints, streamed and not; and errors."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from openai.types.chat import ChatCompletion
from pydantic import BaseModel, Field

from crossette.testing.fake_engine import FakeEngine
from crossette.text.schema.validator import JsonValidator
from support.api_server import DIALECTS, ApiServer, cut_short, events, say, serving

ENDPOINTS = ("completions", "chat/completions")
SCHEMA = {
    "type": "object",
    "properties": {"n": {"type": "integer", "minimum": 0, "maximum": 9}, "b": {"enum": ["x", "y"]}},
    "required": ["n", "b"],
}
A_SCHEMA = r'\{"n": \d, "b": "[xy]"\}'
GBNF = 'root ::= "caf\\u00e9" [0-9]'
UNIQUE = {"type": "object", "properties": {"a": {"type": "array", "uniqueItems": True}}}
WRAPPED = {"name": "answer", "schema": SCHEMA, "strict": True, "description": "d"}


@pytest.fixture(scope="module")
def chance() -> Iterator[ApiServer]:
    """An engine that samples random tokens among the allowed ones."""
    with serving(FakeEngine()) as server:
        yield server


def make_body(endpoint: str, **sent: object) -> dict[str, object]:
    chat = endpoint == "chat/completions"
    prompt = {"messages": [{"role": "user", "content": "Go."}]} if chat else {"prompt": "Go."}
    return {"model": "fake", "max_tokens": 200, **prompt, **sent}


def text_of(choice: Any) -> str:
    return str(choice["text"] if "text" in choice else choice["message"]["content"])


def refusal(api: ApiServer, prefix: str, **sent: object) -> tuple[int, str, str]:
    answer = api.post(f"{prefix}/completions", make_body("completions", **sent))
    error = answer.json()["error"]
    return answer.status_code, error["param"], error["message"]


FORMS: list[tuple[dict[str, Any], str]] = [
    ({"response_format": {"type": "json_schema", "json_schema": WRAPPED}}, A_SCHEMA),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": json.dumps(SCHEMA)}}},
        A_SCHEMA,
    ),
    ({"response_format": {"type": "json_schema", "json_schema": SCHEMA}}, A_SCHEMA),
    ({"response_format": {"type": "json_schema", "json_schema": json.dumps(SCHEMA)}}, A_SCHEMA),
    ({"response_format": {"type": "json_schema", "json_schema": json.dumps(WRAPPED)}}, A_SCHEMA),
    ({"response_format": {"type": "json_object", "schema": SCHEMA}}, A_SCHEMA),
    ({"response_format": {"type": "json_object", "schema": json.dumps(SCHEMA)}}, A_SCHEMA),
    ({"response_format": {"type": "grammar", "grammar": GBNF}}, "café[0-9]"),
    ({"guided_json": SCHEMA}, A_SCHEMA),
    ({"guided_json": json.dumps(SCHEMA)}, A_SCHEMA),
    ({"guided_regex": "^[ab]{3}$"}, "[ab]{3}"),
    ({"guided_choice": ["yes.", "no (really)", "|"]}, r"yes\.|no \(really\)|\|"),
    ({"guided_grammar": GBNF}, "café[0-9]"),
    ({"guided_grammar": 'start: "x" /[0-9]/'}, "x[0-9]"),
    ({"structured_outputs": {"json": SCHEMA, "disable_any_whitespace": True}}, A_SCHEMA),
    ({"structured_outputs": {"regex": "[ab]{3}"}}, "[ab]{3}"),
    ({"structured_outputs": {"choice": ["a", "b"]}}, "[ab]"),
    ({"structured_outputs": {"grammar": GBNF}}, "café[0-9]"),
    ({"response_format": {"type": "text"}, "guided_regex": "a"}, "a"),
]


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize(("sent", "pattern"), FORMS)
def test_every_notation_is_enforced(
    chance: ApiServer, prefix: str, endpoint: str, sent: dict[str, Any], pattern: str
) -> None:
    choices = chance.post(f"{prefix}/{endpoint}", make_body(endpoint, n=3, logprobs=True, **sent)).json()["choices"]

    assert [choice["finish_reason"] for choice in choices] == ["stop"] * 3
    assert all(re.fullmatch(pattern, text_of(choice)) for choice in choices)


@pytest.mark.parametrize(
    "sent", [{"response_format": {"type": "json_object"}}, {"structured_outputs": {"json_object": True}}]
)
def test_a_json_object_is_any_object(prefix: str, sent: dict[str, Any]) -> None:
    with serving(FakeEngine(lambda request, index: b'[{"a": [1, "b"]}')) as api:
        choice = api.post(f"{prefix}/completions", make_body("completions", **sent)).json()["choices"][0]

    assert choice["text"].startswith("{")
    assert choice["finish_reason"] == "length" or isinstance(json.loads(choice["text"]), dict)


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_a_stream_is_the_same_answer(chance: ApiServer, prefix: str, endpoint: str) -> None:
    body = make_body(endpoint, guided_json=SCHEMA, seed=4)
    whole = text_of(chance.post(f"{prefix}/{endpoint}", body).json()["choices"][0])

    frames = events(chance.post(f"{prefix}/{endpoint}", {**body, "stream": True}).content)
    choices = [choice for frame in frames for choice in frame["choices"]]
    joined = "".join(choice.get("text", choice.get("delta", {}).get("content")) or "" for choice in choices)

    assert joined == whole


@pytest.mark.parametrize(
    "sent",
    [
        {"presence_penalty": 1, "frequency_penalty": 1, "repetition_penalty": 1.2},
        {"logit_bias": {"34": -50, "125": 20}},
        {"prediction": {"type": "content", "content": '{"n": 5, "b": "x"}'}},
        {"stop": ["\n", "never"]},
        {"best_of": 4, "n": 2},
        {"min_tokens": 60},
        {"ignore_eos": True},
        {"temperature": 0},
    ],
)
def test_a_response_format_can_be_combined_with_other_fields(
    chance: ApiServer, prefix: str, sent: dict[str, Any]
) -> None:
    answer = chance.post(f"{prefix}/completions", make_body("completions", guided_json=SCHEMA, **sent)).json()

    assert all(re.fullmatch(A_SCHEMA, choice["text"]) for choice in answer["choices"])


def test_an_echo_is_not_constrained(chance: ApiServer, prefix: str) -> None:
    answer = chance.post(f"{prefix}/completions", make_body("completions", guided_json=SCHEMA, echo=True)).json()

    assert re.fullmatch("Go[.]" + A_SCHEMA, answer["choices"][0]["text"])


def test_only_max_tokens_may_leave_json_unfinished(chance: ApiServer, prefix: str) -> None:
    cut = chance.post(f"{prefix}/completions", make_body("completions", guided_json=SCHEMA, max_tokens=5)).json()

    assert (cut["choices"][0]["text"], cut["choices"][0]["finish_reason"]) == ('{"n":', "length")
    status, param, message = refusal(chance, prefix, guided_json=SCHEMA, stop='"b"')
    assert (status, param, "before its JSON was complete" in message) == (400, "stop", True)


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_an_answer_that_violates_its_schema_is_a_counted_error(
    prefix: str, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(JsonValidator, "fault", lambda self, text: "it is not")
    with serving(FakeEngine()) as api:
        whole = api.post(f"{prefix}/{endpoint}", make_body(endpoint, guided_json=SCHEMA))
        streamed = api.post(f"{prefix}/{endpoint}", make_body(endpoint, guided_json=SCHEMA, stream=True))
        assert api.observed.mismatches(2) == 2
        page = api.get("/metrics").text

    assert (whole.status_code, whole.json()["error"]["code"].lower()) == (500, "constraint_failed")
    *chunks, last = cut_short(streamed.content)
    assert last["error"]["code"].lower() == "constraint_failed"
    assert not any(choice["finish_reason"] for chunk in chunks for choice in chunk["choices"])
    assert "crossette_structured_output_mismatches_total 2.0" in page


@pytest.mark.parametrize(
    ("schema", "value", "allowed"),
    [
        ({"type": "string", "format": "email"}, f'"{"a" * 65}@example.org"', f'"{"a" * 64}@'),
        ({"type": "string", "format": "email"}, f'"a@{"b" * 64}.org"', f'"a@{"b" * 63}'),
        ({"type": "string", "format": "hostname"}, f'"{"b" * 64}.org"', f'"{"b" * 63}'),
        ({"type": "number", "exclusiveMinimum": 0, "maximum": 0.5}, "0}", "0."),
    ],
)
def test_output_is_constrained_where_a_validator_would_reject_it(
    api: ApiServer, prefix: str, schema: dict[str, Any], value: str, allowed: str
) -> None:
    object_schema = {"type": "object", "properties": {"v": schema}, "required": ["v"]}
    messages = [{"role": "user", "content": say(f'{{"v": {value}')}]
    body = {"model": "fake", "messages": messages, "max_tokens": 400, "guided_json": object_schema}

    choice = api.post(f"{prefix}/chat/completions", body).json()["choices"][0]

    assert choice["message"]["content"].startswith(f'{{"v": {allowed}')
    assert choice["finish_reason"] == "stop"
    assert JsonValidator(object_schema).fault(choice["message"]["content"]) is None


@pytest.mark.parametrize(
    "sent",
    [
        {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": UNIQUE}}},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": UNIQUE, "strict": False}}},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": UNIQUE, "strict": None}}},
        {"response_format": {"type": "json_schema", "json_schema": UNIQUE}},
        {"response_format": {"type": "json_object", "schema": UNIQUE}},
        {"guided_json": UNIQUE},
        {"structured_outputs": {"json": UNIQUE}},
    ],
)
def test_what_cannot_be_enforced_is_checked_unless_it_is_strict(
    api: ApiServer, prefix: str, sent: dict[str, Any]
) -> None:
    def answer(text: str) -> tuple[int, Any]:
        body = {"model": "fake", "messages": [{"role": "user", "content": say(text)}], **sent}
        response = api.post(f"{prefix}/chat/completions", body)
        return response.status_code, response.json()

    status, valid = answer('{"a": [1, 2]}')

    assert (status, valid["choices"][0]["message"]["content"]) == (200, '{"a": [1, 2]}')


# --- errors ---


@pytest.mark.parametrize(
    ("sent", "param", "text"),
    [
        ({"guided_json": SCHEMA, "guided_regex": "a"}, "guided_regex", "guided_json and guided_regex"),
        (
            {"response_format": {"type": "json_object"}, "structured_outputs": {"choice": ["a"]}},
            "structured_outputs.choice",
            "response_format and structured_outputs.choice",
        ),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema", "missing"),
        ({"response_format": {"type": "grammar"}}, "response_format.grammar", "missing"),
        ({"response_format": {"type": "text", "schema": {}}}, "response_format.schema", "combined with type 'text'"),
        ({"response_format": {"type": "xml"}}, "response_format.type", "xml"),
        ({"response_format": {"type": "text", "strict": True}}, "response_format.strict", "not permitted"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "strict": True}}},
            "response_format.json_schema.schema",
            "missing",
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": {**WRAPPED, "more": 1}}},
            "response_format.json_schema.more",
            "not permitted",
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": {**WRAPPED, "strict": 1}}},
            "response_format.json_schema.strict",
            "boolean",
        ),
        ({"guided_json": "{"}, "guided_json", "not valid JSON"),
        ({"guided_json": {"type": "strang"}}, "guided_json", "not a valid JSON schema: at '/type'"),
        ({"guided_json": {"not": {}}}, "guided_json", "no value matches"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": UNIQUE, "strict": True}}},
            "response_format.json_schema.schema",
            "'uniqueItems' at '/properties/a/uniqueItems'",
        ),
        ({"guided_regex": "("}, "guided_regex", "cannot be enforced"),
        ({"guided_choice": []}, "guided_choice", "List at least one choice"),
        ({"guided_grammar": "root ::= x"}, "guided_grammar", "no rule 'x'"),
        ({"guided_decoding_backend": "outlines"}, "guided_decoding_backend", "not supported"),
        ({"structured_outputs": {"structural_tag": "x"}}, "structured_outputs.structural_tag", "not supported"),
    ],
)
def test_an_invalid_response_format_is_rejected_by_name(
    chance: ApiServer, prefix: str, sent: dict[str, Any], param: str, text: str
) -> None:
    status, named, message = refusal(chance, prefix, stream=True, **sent)

    assert (status, named) == (400, param)
    assert text in message


def nested(depth: int) -> Any:
    return {"type": "object", "properties": {"a": nested(depth - 1)}, "required": ["a"]} if depth else {"type": "null"}


def chained(num_links: int, beside: dict[str, Any]) -> Any:
    """Schemas that each refer to the next, directly or in a property."""
    links: dict[str, Any] = {f"d{num_links}": {"type": "null"}}
    for index in range(num_links):
        link = {"$ref": f"#/$defs/d{index + 1}"}
        links[f"d{index}"] = {"properties": {**beside, "next": link}} if beside else link
    return links


def strictly_of(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "a", "schema": schema, "strict": True}}


PATHOLOGICAL: dict[str, dict[str, Any]] = {
    "deep": {"guided_json": nested(45)},
    "too deep": {"guided_json": nested(200)},
    "deep beyond JSON": {"guided_json": '{"not":' * 5000 + "{}" + "}" * 5000},
    "large enum": {"guided_json": {"enum": [f"word {number}" for number in range(5000)]}},
    "huge enum": {"guided_json": {"enum": [f"word {number}" for number in range(60_000)]}},
    "huge choice": {"guided_choice": [f"word {number}" for number in range(60_000)]},
    "many items": {"guided_json": {"type": "array", "items": {"type": "null"}, "minItems": 10**9}},
    "long text": {"guided_json": {"type": "string", "minLength": 10**7}},
    "exponential pattern": {"guided_json": {"type": "string", "pattern": "^((a+)+)+$"}},
    "large pattern": {"guided_json": {"type": "string", "pattern": "^((a{100}){100}){100}$"}},
    "large regex": {"guided_regex": "((a{1000}){1000}){1000}"},
    "ambiguous grammar": {"guided_grammar": 'root ::= a\na ::= a a | "x" | ""'},
    "product": {
        "guided_json": {"allOf": [{"anyOf": [{"required": ["a"]}, {"required": [str(n)]}]} for n in range(16)]}
    },
    "endless": {"guided_json": {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}},
    "tree": {"guided_json": {"type": "array", "items": {"$ref": "#"}}},
    "many optional": {"guided_json": {"properties": {f"p{number}": {"type": "null"} for number in range(900)}}},
    "numbers": {"guided_json": {"type": "number", "multipleOf": 1e-300, "minimum": -1e308}},
    "steps": {"response_format": strictly_of({"type": "integer", "multipleOf": 123456789})},
    "smallest integer": {"guided_json": {"enum": [-(2**63), 1]}},
    "5,000 properties": {"guided_json": {"properties": {f"p{number}": {"type": "null"} for number in range(5000)}}},
    "5,000 required": {
        "guided_json": {
            "properties": {f"p{number}": {"type": "null"} for number in range(4990)},
            "required": [f"p{number}" for number in range(4990)],
        }
    },
    "references": {"guided_json": {"$ref": "#/$defs/d0", "$defs": chained(3000, {})}},
    "references within objects": {"guided_json": {"$ref": "#/$defs/d0", "$defs": chained(1200, {"a": True})}},
    "rules": {"guided_grammar": "start: r0\n" + "\n".join(f"r{n}: r{n + 1}" for n in range(6000))},
    "deep rules": {
        "guided_grammar": "\n".join(["root ::= r0", *(f"r{n} ::= r{n + 1}" for n in range(1500)), 'r1500 ::= "a"'])
    },
    "deep regex": {"guided_regex": "(" * 5000 + "a" + ")" * 5000},
    "lark": {"guided_grammar": "start: /(a?){100}/ (/b/ /c/){1,100000}"},
}


LEFT_TO_THE_CHECK = ("product", "smallest integer")
"""Those of which a random answer may fail the check."""


def pathological() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Each as a response format, and object schemas as function parameters too: name, path and body of each."""
    for name, sent in PATHOLOGICAL.items():
        yield name, "completions", make_body("completions", max_tokens=20, **sent)
        schema = sent.get("guided_json")
        if isinstance(schema, dict) and ("properties" in schema or "$ref" in schema):
            function = {"name": "f", "parameters": schema}
            tools = {"tools": [{"type": "function", "function": function}], "tool_choice": "required"}
            yield f"{name}, as a tool", "chat/completions", make_body("chat/completions", max_tokens=20, **tools)


@pytest.mark.slow
def test_adversarial_schemas_are_rejected_or_work_and_do_not_stop_other_streams(prefix: str) -> None:
    """Another stream starts and completes during each of them."""
    seen: dict[str, int] = {}
    with serving(FakeEngine()) as api, ThreadPoolExecutor(1) as pool:
        api.http.timeout = 60
        for name, path, body in pathological():
            pending = pool.submit(api.post, f"{prefix}/{path}", body)
            stream = api.post(f"{prefix}/completions", make_body("completions", max_tokens=20, stream=True))
            assert len([event for event in events(stream.content) if event["choices"][0]["text"]]) == 20, name
            answer = pending.result()
            if answer.status_code == 500 and name.startswith(LEFT_TO_THE_CHECK):
                assert answer.json()["error"]["code"] == DIALECTS[prefix].errors["constraint_failed"][1], name
                continue
            seen[name] = answer.status_code
            assert answer.status_code == 200 or (len(answer.json()["error"]["message"]) < 700), name
        api.wait_until_idle()

    assert set(seen.values()) == {200, 400}, seen


@pytest.mark.slow
def test_the_tool_whose_schema_cannot_be_enforced_is_named(prefix: str) -> None:
    """Even if only the grammar compiler detects it."""
    impossible = {"properties": {"a": {"type": "integer", "minimum": 5, "maximum": 3}}, "required": ["a"]}
    functions = [{"name": "good"}, {"name": "bad", "parameters": impossible}]
    tools = [{"type": "function", "function": function} for function in functions]
    with serving(FakeEngine()) as api:
        answer = api.post(f"{prefix}/chat/completions", make_body("chat/completions", tools=tools))

    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, "tools[1].function.parameters")
    assert "at '/properties/a'" in error["message"]


# --- the SDK ---


class Pet(BaseModel):
    kind: str = Field(pattern="^(cat|dog)$")
    age: int = Field(ge=0, le=30)
    note: str | None = None


class Home(BaseModel):
    pets: list[Pet] = Field(max_length=2)
    rent: float = Field(gt=0, lt=1000)


def test_sdk_parse_returns_the_pydantic_model(chance: ApiServer, prefix: str) -> None:
    messages: Any = [{"role": "user", "content": "Go."}]
    parsed = chance.sdk(prefix).chat.completions.parse(
        model="fake", messages=messages, response_format=Home, max_tokens=4000, seed=2
    )

    assert isinstance(parsed, ChatCompletion)
    home = parsed.choices[0].message.parsed
    assert isinstance(home, Home)
    assert home.rent < 1000
