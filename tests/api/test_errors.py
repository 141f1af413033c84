"""All errors have the same body, and the server survives them."""

from __future__ import annotations

import re
from typing import Any

import httpx
import openai
import pytest
from openai.types.shared import ErrorObject

from crossette.api.schema import fields, nested_fields
from crossette.engine import Generation
from crossette.testing.fake_engine import FakeEngine
from crossette.types import GenerationRequest
from support.api_server import DIALECTS, ApiServer, say, serving, strictly

ENDPOINTS = ("completions", "chat/completions")
USER = {"role": "user", "content": say("Hello")}
BODIES: dict[str, dict[str, Any]] = {
    "completions": {"model": "fake", "prompt": say("Hello"), "max_tokens": 50},
    "chat/completions": {"model": "fake", "messages": [USER]},
}
SOMETHING = {"something": 1}


@pytest.fixture(params=ENDPOINTS)
def endpoint(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


def error_in(answer: httpx.Response) -> dict[str, Any]:
    """The error of a response, whose body must have exactly the documented keys."""
    body = answer.json()
    assert set(body) == {"error", "request_id"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert strictly(ErrorObject, body["error"]) == set()
    assert body["request_id"] == answer.headers["x-request-id"]
    assert answer.headers["content-type"] == "application/json"
    assert not re.search(r"Traceback|File \"|\.py|detail|Error\(", answer.text)
    error: dict[str, Any] = body["error"]
    return error


def refused(api: ApiServer, path: str, body: object) -> tuple[int, Any]:
    answer = api.post(path, body)
    return answer.status_code, error_in(answer)["param"]


# --- unsupported fields ---

# Each field once for each endpoint that has it.
UNBUILT = [
    *((endpoint, name) for endpoint in ENDPOINTS for name in fields.BOTH.refused),
    *(("completions", name) for name in fields.COMPLETIONS.refused),
    *(("chat/completions", name) for name in fields.CHAT.refused),
]
NEUTRAL = {
    name: field.neutral
    for table in (fields.BOTH, fields.COMPLETIONS, fields.CHAT)
    for name, field in table.refused.items()
}
MESSAGE, PART = (
    {name: field.neutral for name, field in table.refused.items()}
    for table in (nested_fields.MESSAGE, nested_fields.PART)
)


@pytest.mark.parametrize(("endpoint_", "name"), UNBUILT)
def test_an_unsupported_field_is_accepted_with_a_neutral_value(api: ApiServer, endpoint_: str, name: str) -> None:
    for prefix in DIALECTS:
        for neutral in (None, *NEUTRAL[name]):
            answer = api.post(f"{prefix}/{endpoint_}", BODIES[endpoint_] | {name: neutral})
            assert answer.status_code == 200, (neutral, answer.text)


@pytest.mark.parametrize(("endpoint_", "name"), UNBUILT)
def test_an_unsupported_field_with_an_effect_is_rejected_by_name(api: ApiServer, endpoint_: str, name: str) -> None:
    for prefix, dialect in DIALECTS.items():
        for streamed in (False, True):
            answer = api.post(f"{prefix}/{endpoint_}", BODIES[endpoint_] | {name: SOMETHING, "stream": streamed})
            error = error_in(answer)
            assert (answer.status_code, error["param"]) == (400, name)
            assert (error["type"], error["code"]) == dialect.errors["unsupported"]
            assert re.match(
                rf"'{name}' is (not supported yet|a field of /\S+): leave it out, or send null", error["message"]
            )


@pytest.mark.parametrize(
    ("sent", "param", "code"),
    [
        ({"tools": [{"type": "function"}]}, "tools[0].function", "missing_required_parameter"),
        ({"tools": [{"function": {"name": ""}}]}, "tools[0].function.name", "invalid_value"),
        ({"tools": [{"function": {"name": "a" * 65}}]}, "tools[0].function.name", "string_above_max_length"),
        ({"tool_choice": {"type": "function"}}, "tool_choice.function", "missing_required_parameter"),
        ({"tool_choice": {"type": "tool", "name": "f"}}, "tool_choice.type", "invalid_value"),
        ({"tool_choice": {"type": "custom", "custom": {"name": "f"}}}, "tool_choice.custom", "unknown_parameter"),
        ({"reasoning_effort": "none", "thinking": {"type": "disabled"}}, "thinking", "invalid_parameter_combination"),
    ],
)
def test_openai_s_codes_name_the_cause_in_a_chat(api: ApiServer, sent: dict[str, Any], param: str, code: str) -> None:
    error = error_in(api.post("/v1/chat/completions", BODIES["chat/completions"] | sent))

    assert (error["param"], error["code"]) == (param, code)


@pytest.mark.parametrize("name", ["allowed_token_ids", "bad_words", "prompt_logprobs", "skip_special_tokens", "store"])
def test_the_error_of_an_unsupported_field_has_its_reason(
    api: ApiServer, prefix: str, endpoint: str, name: str
) -> None:
    error = error_in(api.post(f"{prefix}/{endpoint}", BODIES[endpoint] | {name: SOMETHING}))

    assert error["message"].endswith(fields.BOTH[name].note)


@pytest.mark.parametrize(
    ("name", "value"),
    [("raw_output", 0), ("store", 0), ("length_penalty", True), ("frequency_penalty", False), ("best_of", True)],
)
def test_true_is_not_one_and_false_is_not_zero(api: ApiServer, prefix: str, name: str, value: object) -> None:
    assert refused(api, f"{prefix}/completions", BODIES["completions"] | {name: value}) == (400, name)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("thinking", {"type": "disabled", "budget_tokens": None}),
        ("reasoning", {"effort": None}),
        ("reasoning", {"effort": "none", "summary": None}),
        ("length_penalty", 1.0),
    ],
)
def test_a_null_in_a_neutral_value_is_the_same_as_no_entry(api: ApiServer, prefix: str, name: str, value: Any) -> None:
    assert api.post(f"{prefix}/completions", BODIES["completions"] | {name: value}).status_code == 200


@pytest.mark.parametrize("name", MESSAGE)
def test_the_same_applies_to_fields_of_a_message(api: ApiServer, prefix: str, name: str) -> None:
    def body(value: object) -> dict[str, object]:
        return {"model": "fake", "messages": [USER, USER | {name: value}]}

    for neutral in (None, *MESSAGE[name]):
        assert api.post(f"{prefix}/chat/completions", body(neutral)).status_code == 200
    assert refused(api, f"{prefix}/chat/completions", body(SOMETHING)) == (400, f"messages[1].{name}")


@pytest.mark.parametrize("name", PART)
def test_the_same_applies_to_fields_of_a_content_part(api: ApiServer, prefix: str, name: str) -> None:
    def body(value: object) -> dict[str, object]:
        part = {"type": "text", "text": "a", name: value}
        return {"model": "fake", "messages": [{"role": "user", "content": [part]}]}

    for neutral in (None, *PART[name]):
        assert api.post(f"{prefix}/chat/completions", body(neutral)).status_code == 200
    assert refused(api, f"{prefix}/chat/completions", body(SOMETHING)) == (400, f"messages[0].content[0].{name}")


@pytest.mark.parametrize("name", ["user", "safety_identifier", "prompt_cache_key", "prompt_cache_isolation_key"])
def test_recorded_fields_are_accepted(api: ApiServer, prefix: str, endpoint: str, name: str) -> None:
    body = BODIES[endpoint] | {name: "somebody", "metadata": {"team": "blue"}}

    assert api.post(f"{prefix}/{endpoint}", body).status_code == 200


# --- unknown fields and wrong types ---


@pytest.mark.parametrize("value", [None, 1, {"a": []}])
def test_an_unknown_field_is_rejected_with_the_message_that_clients_match(
    api: ApiServer, prefix: str, endpoint: str, value: object
) -> None:
    answer = api.post(f"{prefix}/{endpoint}", BODIES[endpoint] | {"temprature": value})

    error = error_in(answer)
    assert answer.status_code == 400
    assert error["message"].startswith("Extra inputs are not permitted, field: 'temprature'")
    assert (error["type"], error["code"], error["param"]) == (*DIALECTS[prefix].errors["unknown_field"], "temprature")


def test_a_field_of_the_other_endpoint_is_rejected(api: ApiServer, prefix: str) -> None:
    assert refused(api, f"{prefix}/completions", BODIES["completions"] | {"tools": []}) == (400, "tools")
    assert refused(api, f"{prefix}/chat/completions", BODIES["chat/completions"] | {"suffix": ""}) == (400, "suffix")


@pytest.mark.parametrize(
    ("name", "value", "param"),
    [
        ("model", None, "model"),
        ("model", 1, "model"),
        ("max_tokens", "5", "max_tokens"),
        ("max_tokens", 1.5, "max_tokens"),
        ("max_tokens", True, "max_tokens"),
        ("temperature", "hot", "temperature"),
        ("top_k", 1.5, "top_k"),
        ("n", "1", "n"),
        ("stop", 1, "stop"),
        ("stop", [1], "stop[0]"),
        ("stop", {"a": 1}, "stop"),
        ("seed", "a", "seed"),
        ("stream", "true", "stream"),
        ("stream", 1, "stream"),
        ("stream_options", True, "stream_options"),
        ("stream_options", {"include_usage": "yes"}, "stream_options.include_usage"),
        ("stream_options", {"huh": 1}, "stream_options.huh"),
        ("stream_options", {"include_obfuscation": True}, "stream_options.include_obfuscation"),
        ("stream_options", {"include_usage": True}, "stream_options"),
        ("context_length_exceeded_behavior", "cut", "context_length_exceeded_behavior"),
        ("metadata", {"a": 1}, "metadata.a"),
        ("metadata", {"a": "b", "c.d": None}, "metadata.c.d"),
        ("metadata", {"a": {"b": "c"}}, "metadata.a"),
        ("logit_bias", {"1": 1, "2": "b"}, "logit_bias.2"),
        ("logit_bias", {"1": 101}, "logit_bias.1"),
        ("logit_bias", {"a": 1}, "logit_bias"),
        ("logit_bias", {"160000": 1}, "logit_bias.160000"),
        ("stop_token_ids", [1, 1.5], "stop_token_ids[1]"),
        ("stop", ["a", "b" * 5000], "stop[1]"),
        ("prompt_cache_options", "24h", "prompt_cache_options"),
        ("cache_prompt", 1, "cache_prompt"),
        ("ignore_eos", "no", "ignore_eos"),
    ],
)
def test_a_wrong_type_is_rejected_by_name(
    api: ApiServer, prefix: str, endpoint: str, name: str, value: object, param: str
) -> None:
    assert refused(api, f"{prefix}/{endpoint}", BODIES[endpoint] | {name: value}) == (400, param)


@pytest.mark.parametrize("name", ["model", "prompt", "messages"])
def test_a_missing_field_is_named(api: ApiServer, prefix: str, name: str) -> None:
    path = "chat/completions" if name == "messages" else "completions"
    body = {key: value for key, value in BODIES[path].items() if key != name}

    assert refused(api, f"{prefix}/{path}", body) == (400, name)


@pytest.mark.parametrize(
    ("sent", "param", "allowed"),
    [
        ({"service_tier": "gold"}, "service_tier", ["auto", "default", "flex", "priority", "fast", "scale"]),
        ({"service_tier": 1}, "service_tier", ["auto", "priority"]),
        ({"response_format": {"type": "xml"}}, "response_format.type", ["text", "json_object", "json_schema"]),
        ({"context_length_exceeded_behavior": "cut"}, "context_length_exceeded_behavior", ["truncate", "error"]),
        ({"prediction": {"type": "text", "content": ""}}, "prediction.type", ["content"]),
        ({"prediction": {"type": "content", "content": [{"type": 1}]}}, "prediction.content[0].type", ["text"]),
    ],
)
def test_an_error_of_a_field_with_a_list_of_values_has_the_list(
    api: ApiServer, prefix: str, endpoint: str, sent: dict[str, Any], param: str, allowed: list[str]
) -> None:
    error = error_in(api.post(f"{prefix}/{endpoint}", BODIES[endpoint] | sent))

    assert error["param"] == param
    assert [value for value in allowed if repr(value) not in error["message"]] == []


def test_other_fields_of_a_chat_list_their_values_too(api: ApiServer, prefix: str) -> None:
    for sent, param, allowed in (
        ({"messages": [USER | {"role": "wizard"}]}, "messages[0].role", "developer"),
        ({"thinking": {"type": "on"}}, "thinking.type", "enabled"),
        ({"tool_choice": "some"}, "tool_choice", "required"),
        ({"tool_choice": {"type": "some"}}, "tool_choice.type", "'allowed_tools', 'auto'"),
        ({"reasoning_effort": "most"}, "reasoning_effort", "minimal"),
        ({"reasoning_history": "all"}, "reasoning_history", "interleaved"),
    ):
        error = error_in(api.post(f"{prefix}/chat/completions", BODIES["chat/completions"] | sent))
        assert error["param"] == param
        assert allowed in error["message"]


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        ({"model": None}, "invalid_type"),
        ({"max_tokens": "5"}, "invalid_type"),
        ({"stop": [1]}, "invalid_type"),
        ({"metadata": {"a": 1}}, "invalid_type"),
        ({"service_tier": "gold"}, "invalid_value"),
        ({"n": 0}, "integer_below_min_value"),
        ({"n": 129}, "integer_above_max_value"),
        ({"temperature": -1}, "decimal_below_min_value"),
        ({"temperature": 2.5}, "decimal_above_max_value"),
        ({"logit_bias": {"1": 200}}, "decimal_above_max_value"),
        ({"stop": ["a"] * 200}, "array_above_max_length"),
        ({"metadata": dict.fromkeys(map(str, range(17)), "")}, "object_above_max_properties"),
        ({"user": "x" * 513}, "string_above_max_length"),
        ({"temprature": 1}, "unknown_parameter"),
        ({"max_tokens": 0}, "integer_below_min_value"),
        ({"max_tokens": 5, "max_completion_tokens": 5}, "invalid_parameter_combination"),
        ({"response_format": {"type": "json_schema"}}, "missing_required_parameter"),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "a"}}}, "missing_required_parameter"),
        ({"store": True}, "unsupported_parameter"),
    ],
)
def test_openai_s_codes_name_the_cause(
    api: ApiServer, prefix: str, endpoint: str, sent: dict[str, Any], code: str
) -> None:
    error = error_in(api.post(f"{prefix}/{endpoint}", BODIES[endpoint] | sent))

    assert error["code"] == (code if prefix == "/v1" else "INVALID_ARGUMENT")


def test_a_missing_field_and_an_empty_list_have_openai_s_codes(api: ApiServer) -> None:
    def code(path: str, body: object) -> str | None:
        found: str | None = error_in(api.post(f"/v1/{path}", body))["code"]
        return found

    assert code("chat/completions", {"model": "fake"}) == "missing_required_parameter"
    assert code("completions", {"prompt": "a"}) == "missing_required_parameter"
    assert code("chat/completions", {"model": "fake", "messages": []}) == "empty_array"
    assert code("completions", {"model": "fake", "prompt": []}) == "empty_array"


def test_a_type_error_names_the_expected_type(api: ApiServer) -> None:
    answer = api.post("/v1/completions", BODIES["completions"] | {"max_tokens": "5"})

    expected = "Input should be a valid integer or null, not string, field: 'max_tokens'"
    assert error_in(answer)["message"] == expected


# --- invalid bodies ---


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"5",
        b'"text"',
        b"not json",
        b"{'model': 'fake'}",
        b'{"model": "fake",}',
        b'{"model": "fake", "prompt": "a"} and more',
        b'{"model": "fake", "prompt": "\xff\xfe"}',
        b'{"model": "\xc3", "prompt": "a"}',
        b'{"model": "\\ud800 alone", "prompt": "a"}',
        b'{"model": "\\udc00 alone", "prompt": "a"}',
        b'{"model": "fake", "prompt": "a", "temperature": NaN}',
        b'{"model": "fake", "prompt": "a", "temperature": 1e999}',
        b'{"model": "fake", "prompt": "a", "logit_bias": ' + b"[" * 100_000,
        b'{"model": "fake", "prompt": "a", "logit_bias": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"model": "fake", "prompt": "a", "logit_bias": ' + b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b"}",
        b'{"model": "fake", "prompt": "a", "logit_bias": ' + b"[" * 500 + b"]" * 500 + b"}",
        b'{"model": "fake", "prompt": "a", "max_tokens": 1' + b"0" * 5000 + b"}",
        b"\x00",
        b"\x80",
        b"\xef\xbb\xbf{}",
    ],
    ids=lambda body: repr(body[:50]),
)
def test_an_invalid_body_is_a_400(api: ApiServer, prefix: str, endpoint: str, body: bytes) -> None:
    answer = api.post(f"{prefix}/{endpoint}", body)

    assert answer.status_code == 400
    error_in(answer)


def test_unknown_field_names_are_returned_as_text(api: ApiServer, prefix: str) -> None:
    answer = api.post(f"{prefix}/completions", BODIES["completions"] | {'"`\n\u2028$.x - at `': 1})

    assert answer.status_code == 400
    error_in(answer)


# --- paths and methods ---


@pytest.mark.parametrize("path", ["", "/", "/nothing", "/completion", "/chat", "/completions/more", "/../etc/passwd"])
def test_an_unknown_path_is_a_404_that_names_it(api: ApiServer, prefix: str, path: str) -> None:
    for answer in (api.get(prefix + path), api.post(prefix + path, {})):
        assert answer.status_code == 404
        error = error_in(answer)
        # The client resolves `..` itself, which removes the prefix.
        dialect = DIALECTS[prefix if answer.request.url.path.startswith(prefix) else "/v1"]
        assert (error["type"], error["code"]) == dialect.errors["not_found"]
        assert error["message"].startswith("Path not found: ")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "completions", "POST"),
        ("GET", "chat/completions", "POST"),
        ("PUT", "completions", "POST"),
        ("DELETE", "chat/completions", "POST"),
        ("OPTIONS", "completions", "POST"),
        ("POST", "models", "GET, HEAD"),
        ("PUT", "models/fake", "DELETE, GET, HEAD"),
        ("PUT", "/responses", "GET, HEAD, POST"),
        ("POST", "/responses/resp_1", "DELETE, GET, HEAD"),
        ("DELETE", "/files", "GET, HEAD, POST"),
        ("GET", "/tokenize", "POST"),
    ],
)
def test_a_wrong_method_is_a_405_that_lists_the_allowed_ones(
    api: ApiServer, prefix: str, method: str, path: str, allow: str
) -> None:
    answer = api.http.request(method, api.url(f"{prefix}/{path}"))

    error = error_in(answer)
    assert (answer.status_code, answer.headers["allow"]) == (405, allow)
    assert (error["type"], error["code"]) == DIALECTS[prefix].errors["method_not_allowed"]


def test_the_fireworks_sdks_doubled_prefix_works(api: ApiServer) -> None:
    body = BODIES["completions"] | {"prompt": say("one two"), "stop": "one"}

    answer = api.post("/inference/v1/v1/completions", body)

    assert answer.json()["choices"][0]["text"] == "one"  # with its stop string: Fireworks' dialect


def test_a_trailing_slash_has_no_effect(api: ApiServer, prefix: str, endpoint: str) -> None:
    answer = api.post(f"{prefix}/{endpoint}/", BODIES[endpoint])

    assert answer.status_code == 200
    kind = "chatcmpl-" if endpoint == "chat/completions" else "cmpl-"
    assert re.fullmatch(kind + "[0-9a-f]{32}", answer.json()["id"])
    assert api.get(f"{prefix}/models/").json()["object"] == "list"


# --- request ids ---


def test_the_request_id_is_the_answers_id(api: ApiServer, prefix: str, endpoint: str) -> None:
    for streamed in (False, True):
        answer = api.post(f"{prefix}/{endpoint}", BODIES[endpoint] | {"stream": streamed})
        assert answer.headers["x-request-id"] in answer.text


@pytest.mark.parametrize("given", ["abc", "A.b_c-9", "x" * 128])
def test_the_callers_request_id_is_kept_and_the_answer_has_its_own_id(
    api: ApiServer, prefix: str, endpoint: str, given: str
) -> None:
    answer = api.post(f"{prefix}/{endpoint}", BODIES[endpoint], {"x-request-id": given})

    assert answer.headers.get_list("x-request-id") == [given]
    assert answer.json()["id"] != given


@pytest.mark.parametrize("given", ["", "x" * 129, "a b", "a/b", "a;b", "\u00e9"])
def test_a_request_id_that_is_unsafe_for_a_log_is_replaced(api: ApiServer, prefix: str, given: str) -> None:
    head = [(b"x-request-id", given.encode("latin-1"))]
    answer = api.http.post(api.url(f"{prefix}/completions"), json=BODIES["completions"], headers=head)

    assert answer.headers["x-request-id"] == answer.json()["id"]


@pytest.mark.parametrize("path", ["/v1/nothing", "/v1/models", "/health/live"])
def test_every_answer_has_a_request_id(api: ApiServer, path: str) -> None:
    assert re.fullmatch("req-[0-9a-f]{32}", api.get(path).headers["x-request-id"])
    assert api.get(path, {"x-request-id": "mine"}).headers["x-request-id"] == "mine"


# --- internal failures ---


class BrokenEngine(FakeEngine):
    """Fails with an exception of an unexpected class."""

    def generate(self, request: GenerationRequest) -> Generation:
        raise RuntimeError("secret: /home/somebody/model.bin")


@pytest.mark.parametrize("streamed", [False, True])
def test_an_unexpected_failure_is_a_500_without_its_details(
    prefix: str, endpoint: str, streamed: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(BrokenEngine()) as api:
        answer = api.post(f"{prefix}/{endpoint}", BODIES[endpoint] | {"stream": streamed})
        again = api.get(f"{prefix}/models")

    error = error_in(answer)
    assert (answer.status_code, error["type"], error["code"]) == (500, *DIALECTS[prefix].errors["internal"])
    assert "secret" not in answer.text
    assert "secret" in caplog.text  # the log has the cause
    assert again.status_code == 200


def test_an_unexpected_failure_in_mid_answer_is_a_500_too(
    prefix: str, endpoint: str, caplog: pytest.LogCaptureFixture
) -> None:
    engine = FakeEngine()
    with serving(engine) as api:
        engine.fail_next_step(RuntimeError("kernel broke"))
        answer = api.post(f"{prefix}/{endpoint}", BODIES[endpoint])
        again = api.post(f"{prefix}/{endpoint}", BODIES[endpoint])

    assert (answer.status_code, again.status_code) == (500, 200)
    assert answer.json()["error"]["code"] == DIALECTS[prefix].errors["internal"][1]


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"model": "other"}, openai.NotFoundError),
        ({"max_tokens": 0}, openai.BadRequestError),
        ({"extra_body": {"huh": 1}}, openai.BadRequestError),
    ],
)
def test_the_sdk_raises_the_expected_exception_class(
    api: ApiServer, prefix: str, body: dict[str, Any], error: type[openai.APIStatusError]
) -> None:
    with pytest.raises(error) as raised:
        api.sdk(prefix).completions.create(**{"model": "fake", "prompt": "a"} | body)

    assert raised.value.request_id is not None
    assert raised.value.message


# --- health ---


def test_health_lists_the_served_models(api: ApiServer) -> None:
    ready = api.get("/health/ready")

    assert api.get("/health/live").json() == {"status": "ok"}
    assert (ready.status_code, ready.json()["status"]) == (200, "ok")
    assert [model["id"] for model in ready.json()["models"]] == ["fake"]
